#include "runtime/host_api.h"

#include "runtime/net.h"

const struct host_call *const host_tables[] = {host_job_calls, host_basic_calls, net_calls, NULL};
