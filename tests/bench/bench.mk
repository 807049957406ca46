# make bench [WHAT=drain,push] [QUICK=1] [ROUNDS=3] [BACKLOG=10000000] [BENCH_DIR=build/bench]
# tests/bench/run.lua says what the variables mean; docs/performance.md what the figures mean.

BENCH_BIN := $(BUILD)/bench/bin
BENCH_CC   = $(CC) -std=gnu11 -Wall -Wextra $(WERROR) $(OPT) $(SANFLAGS) -D_GNU_SOURCE
BENCH_LUA  = LUA_PATH="tests/bench/?.lua;stdlib/?.lua;;" LUA_CPATH="./build/lua/?.so;;" luajit

$(BENCH_BIN)/load: $(addprefix tests/bench/,load.c peer_moonq.c peer_redis.c peer_beanstalkd.c load.h)
	@mkdir -p $(@D)
	$(call quiet,CC)$(BENCH_CC) -o $@ $(filter %.c,$^) -lhiredis -lm
$(BENCH_BIN)/limit: tests/bench/limit.c
	@mkdir -p $(@D)
	$(call quiet,CC)$(BENCH_CC) -o $@ $< -llmdb
$(BENCH_BIN)/http_delay: tests/bench/http_delay.c
	@mkdir -p $(@D)
	$(call quiet,CC)$(BENCH_CC) -o $@ $<

.PHONY: bench bench-programs
bench-programs: $(addprefix $(BENCH_BIN)/,load limit http_delay)
bench:                     ## measure against LMDB, Redis Streams and beanstalkd; WHAT=drain, QUICK=1
	@.ci/deps build demo bench
	@$(MAKE) --no-print-directory -j$(JOBS) all bench-programs
	@$(BENCH_LUA) tests/bench/run.lua $(BENCH_BIN) $(BUILD)/moonq

.PHONY: bench-picture
bench-picture:             ## draw bench.json as bench.svg
	@$(BENCH_LUA) tests/bench/picture.lua
export WHAT QUICK ROUNDS BACKLOG CALM BENCH_DIR BENCH_JSON
