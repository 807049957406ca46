# Crash tests: docs/crash-tests.md.
CRASH_BIN := $(BUILD)/crash
CRASH_CC   = $(CC) -std=gnu11 -Wall -Wextra $(WERROR) $(OPT) -D_GNU_SOURCE -Icore
# Disks are built by the thousand: in memory, where there is such a folder.
CRASH_TMP := $(firstword $(wildcard /dev/shm) $(TMPDIR) /tmp)
CRASH_LUA  = TMPDIR=$(CRASH_TMP) LUA_PATH="tests/crash/?.lua;stdlib/?.lua;;" LUA_CPATH="./build/lua/?.so;;" luajit
CRASH_SEED ?= 1

$(CRASH_BIN)/shim.so: tests/crash/shim.c tests/crash/shim.h
	@mkdir -p $(@D)
	$(call quiet,CC)$(CRASH_CC) -fPIC -shared -o $@ $< -ldl
$(CRASH_BIN)/load: tests/crash/load.c tests/crash/ledger.h tests/crash/shim.h $(BUILD)/job.a $(BUILD)/base.a
	@mkdir -p $(@D)
	$(call quiet,CC)$(CRASH_CC) $(SANFLAGS) -o $@ $(filter %.c %.a,$^) -lhiredis -lxxhash -lpthread -lm
$(CRASH_BIN)/images: tests/crash/images.c tests/crash/ledger.h tests/crash/shim.h $(BUILD)/store.a $(BUILD)/job.a $(BUILD)/base.a
	@mkdir -p $(@D)
	$(call quiet,CC)$(CRASH_CC) $(SANFLAGS) -o $@ $(filter %.c %.a,$^) -llmdb -ljansson -lhiredis -lxxhash -lpthread -lm
$(CRASH_BIN)/pace: tests/crash/pace.c
	@mkdir -p $(@D)
	$(call quiet,CC)$(CRASH_CC) -o $@ $< -lhiredis
CRASH_PROGRAMS := $(addprefix $(CRASH_BIN)/,shim.so load images)

CRASH_RUN  = $(CRASH_LUA) tests/crash/$(1).lua $(CRASH_BIN) $(BUILD)/moonq

.PHONY: crash crash-short
crash: all $(CRASH_PROGRAMS)        ## power cuts, kills and faults, the long round; CRASH_SEED
	@$(call CRASH_RUN,images) 10000 5 $(CRASH_SEED)
	@$(call CRASH_RUN,kills) 500 25 $(CRASH_SEED)
	@$(call CRASH_RUN,faults) $(CRASH_SEED) 5

crash-short: all $(CRASH_PROGRAMS)  ## a quick round of power cuts and kills; faults: make crash-faults
	@$(call CRASH_RUN,images) 300 1 $(CRASH_SEED)
	@$(call CRASH_RUN,kills) 10 10 $(CRASH_SEED)

.PHONY: crash-faults
crash-faults: all $(CRASH_PROGRAMS) ## full disk, EIO, no descriptors, no memory, clock steps
	@$(call CRASH_RUN,faults) $(CRASH_SEED) 1

SOAK_MINUTES ?= 60
SOAK_PICTURE ?= $(BUILD)/soak.svg
SOAK_RUN = TMPDIR=$(or $(TMPDIR),/tmp) $(filter-out TMPDIR=%,$(CRASH_LUA)) tests/crash/soak.lua $(CRASH_BIN) $(BUILD)/moonq

.PHONY: soak soak-short
soak: all $(CRASH_BIN)/pace        ## 70 % load, and nothing grows: SOAK_MINUTES=60, SOAK_PICTURE
	@$(SOAK_RUN) $$(($(SOAK_MINUTES) * 60)) $(SOAK_PICTURE)

soak-short: all $(CRASH_BIN)/pace  ## 20 seconds of it, at 40 %
	@SOAK_LOAD=0.4 $(SOAK_RUN) 20 $(SOAK_PICTURE)
