/*
 * What a child tells of the application (READY): JSON from a process that is not trusted. A push of any type that it names
 * is refused, or makes a specification within all limits.
 */
#include "fuzz.h"

#include "base/log.h"
#include "server/app.h"
#include "valid.h"

#define NOW 1800000000000

static uint32_t host_chance(void *owner)
{
    (void)owner;
    return 0;
}

static void push(struct dispatch *d, const char *type)
{
    struct op_push push = {0};
    struct push_order order;
    struct mq_err err;
    order_init(&order);
    order.type = slice_of(type);
    order.payload = SLICE("{}");
    if (dispatch_resolve(d, &push, &order, NOW, &err) == MQ_OK) {
        valid_spec(&push.spec, 1000);
        FUZZ_MUST(push.run_at <= WALL_MAX, "runs at %lld", (long long)push.run_at);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dispatch_host host = {.chance = host_chance};
    struct dispatch_settings settings = {.payload_max = 1000};
    json_t *app = json_loadb((const char *)data, size, 0, NULL), *handler;
    struct mq_err err = {0};
    const char *name;
    order_init(&settings.defaults);
    struct dispatch *d = dispatch_new(NULL, &host, &settings);
    FUZZ_MUST(app_check(app, &err) == MQ_OK || err.text[0], "refused without a reason");
    app_set_types(d, app);
    json_object_foreach(json_object_get(app, "handlers"), name, handler) push(d, name);
    json_decref(app);
    dispatch_free(d);
    return 0;
}
