/*
 * cli_cron.h - cron expressions for the command line, without a server: the Lua module `moonq_cron`.
 *
 *   cron.next(expression, opts, n)      -> list of at most n unix milliseconds, the first moments after opts.from
 *   cron.explain(expression, opts)      -> a sentence, and one of what it does when clocks change (maybe "")
 *   cron.format(ms, zone)               -> 2026-03-29T03:00:00+02:00
 *
 * opts: name (for H), tz ("UTC"), days, dst_gap, dst_overlap, from (text, as time_parse reads it; now if not given).
 * What is wrong raises { code = "BADARG", message = ... }.
 */
#ifndef MOONQ_RUNTIME_CLI_CRON_H
#define MOONQ_RUNTIME_CLI_CRON_H

#include <lua.h>

int luaopen_moonq_cron(lua_State *L);
#endif
