# The long form of tests/unit/job/test_cron_walk.c; CRON_ROUNDS sets of expressions a zone, some two minutes each.
CRON_ROUNDS ?= 1
CRON_SEED   ?= 1
.PHONY: cron-long
cron-long: $(BUILD)/unit/job/test_cron_walk  ## cron against every minute of thirty years; CRON_ROUNDS, CRON_SEED
	@CRON_ROUNDS=$(CRON_ROUNDS) CRON_SEED=$(CRON_SEED) $<
