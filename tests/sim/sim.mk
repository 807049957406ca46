# Simulation: docs/simulation.md. It links dispatch and the store with the seam of tests/sim/seam.h.
SIM_OBJ   := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/sim/*.c)))
SIM_ROOMS := $(patsubst %,$(BUILD)/%.a,dispatch runtime store job base)
SIM_WRAP  := store_submit machine_apply machine_keep journal_append pwritev64 mdb_cursor_put \
             mdb_txn_begin mdb_txn_commit mdb_txn_abort env_open mq_bug_at
SIM_LINK   = $(CC) $(SANFLAGS) $(SIM_WRAP:%=-Wl,--wrap=%)
SIM_SEED  ?= 1
SIM_COUNT ?= 2000
SIM_STEPS ?= 500

$(BUILD)/sim: $(SIM_OBJ) $(SIM_ROOMS)
	$(SIM_LINK) -o $@ $^ $(LIBS)

# A mutant is one changed file in front of the rooms: their own object of that name is then not asked for.
MUTANTS := $(patsubst tests/sim/mutants/%.mutant,$(BUILD)/mutants/%,$(sort $(wildcard tests/sim/mutants/*.mutant)))
$(BUILD)/mutants/%: tests/sim/mutants/%.mutant $(SIM_OBJ) $(SIM_ROOMS)
	@mkdir -p $(@D)
	@tests/sim/mutants/plant $< $@.c
	@$(CC) $(CFLAGS_ALL) -w -c -o $@.o $@.c
	@$(SIM_LINK) -o $@ $(SIM_OBJ) $@.o $(SIM_ROOMS) $(LIBS)

.PHONY: sim sim-short sim-mutants
sim: $(BUILD)/sim          ## random histories of dispatch and store against a model; SIM_SEED SIM_COUNT SIM_STEPS
	@$(BUILD)/sim --seed $(SIM_SEED) --count $(SIM_COUNT) --steps $(SIM_STEPS)

sim-short: $(BUILD)/sim    ## a quick round of it
	@$(BUILD)/sim --seed 1 --count 300 --steps 300

sim-mutants:               ## planted bugs, each of which the simulation must find
	@$(MAKE) --no-print-directory -j$(JOBS) $(MUTANTS)
	@tests/sim/mutants/run $(BUILD)
