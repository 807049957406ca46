# Fuzzing: docs/fuzzing.md. Each tests/fuzz/fuzz_<target>.c is a target, tests/fuzz/seeds/<target>/ its seeds. And the
# short rounds under other tools: ThreadSanitizer, valgrind.
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(sort $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ         ?= $(FUZZ_TARGETS)
# What strangers, workers and torn disks send us comes first.
FUZZ_FIRST   := clock command config frame record resp worker
FUZZ_DIR     := $(BUILD)/fuzz
# NULL + 0 is an empty buffer's end; gcc, and C itself by now, have nothing against it.
FUZZ_FLAGS   := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize=pointer-overflow \
                -fno-sanitize-recover=all -fno-omit-frame-pointer \
                -Wno-error -Wno-missing-field-initializers -Itests/unit/dispatch
FUZZ_HELP    := $(filter-out tests/fuzz/fuzz_%.c,$(wildcard tests/fuzz/*.c)) tests/unit/dispatch/world.c
FUZZ_ARCHIVE := $(FUZZ_DIR)/core.a
FUZZ_WRAP_command := clock_wall clock_mono
FUZZ_WRAP_worker  := log_fields
FUZZ_WRAP_smtp    := curl_easy_recv curl_easy_send net_op_finish net_transfer_init net_transfer_start \
                     net_transfer_release host_loop

$(FUZZ_DIR)/%.o: %.c tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call quiet,FUZZ)$(FUZZ_CC) $(CFLAGS_ALL) -O1 $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ_ARCHIVE): $(patsubst %.c,$(FUZZ_DIR)/%.o,$(filter-out core/main.c,$(SOURCES)) $(FUZZ_HELP))
	@rm -f $@ && ar rcs $@ $^

$(FUZZ_DIR)/fuzz_%: $(FUZZ_DIR)/tests/fuzz/fuzz_%.o $(FUZZ_ARCHIVE)
	$(call quiet,LINK)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer $(FUZZ_WRAP_$*:%=-Wl,--wrap=%) -o $@ $^ -lcmocka $(LIBS)

.PHONY: fuzz fuzz-short fuzz-ci fuzz-build tsan-short valgrind-short
fuzz: fuzz-build           ## each parser against random bytes, FUZZ_SECONDS (60) each; FUZZ="resp frame" for some
	@tests/fuzz/run $(FUZZ_DIR) $(FUZZ_SECONDS) $(FUZZ)

fuzz-short: FUZZ_SECONDS := 2
fuzz-short: fuzz           ## two seconds each

fuzz-ci:                   ## a round for CI: a minute for the first line of parsers, 10 seconds for the others
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=60 FUZZ="$(FUZZ_FIRST)"
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=10 FUZZ="$(filter-out $(FUZZ_FIRST),$(FUZZ_TARGETS))"

fuzz-build:
	@command -v $(FUZZ_CC) >/dev/null || { echo "fuzzing needs clang and its runtime: .ci/deps fuzz"; exit 1; }
	@$(MAKE) --no-print-directory -j$(JOBS) $(FUZZ:%=$(FUZZ_DIR)/fuzz_%)

# The store's threads and the loop, whose one meeting point is store/lmdb/handover.h.
TSAN_UNITS     := store/test_lmdb_threads store/test_contract
tsan-short:                ## the hand-over between store and loop under ThreadSanitizer
	@$(MAKE) --no-print-directory -j$(JOBS) SAN=thread BUILD=$(BUILD)/tsan $(TSAN_UNITS:%=$(BUILD)/tsan/unit/%)
	@for t in $(TSAN_UNITS); do echo "== tsan $$t"; \
		TSAN_OPTIONS=halt_on_error=1 setarch -R $(BUILD)/tsan/unit/$$t >$(BUILD)/tsan/log 2>&1 \
		|| { tail -60 $(BUILD)/tsan/log; exit 1; }; done

# Without LuaJIT, which valgrind cannot follow into its own allocator.
VALGRIND_UNITS := base/test_buf job/test_record job/test_order protocol/test_resp dispatch/test_dispatch
valgrind-short: $(VALGRIND_UNITS:%=$(BUILD)/unit/%)  ## some unit tests under valgrind
	@command -v valgrind >/dev/null || { echo "valgrind is missing: .ci/deps fuzz"; exit 1; }
	@for t in $(VALGRIND_UNITS); do echo "== valgrind $$t"; \
		valgrind -q --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite \
		$(BUILD)/unit/$$t >$(BUILD)/valgrind.log 2>&1 || { grep -a -B2 -A20 '^==' $(BUILD)/valgrind.log | tail -60; exit 1; }; done
