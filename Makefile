# moonq: build, test, install. `make help` lists the targets.
#
#   make demo     the main job, end to end, on a bare Debian 12
#   make test     all tests

# ---- what you may set -------------------------------------------------------------------------------------
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
OPT     ?= -O2 -g
SAN     ?=            # SAN=1: AddressSanitizer and UBSan; SAN=thread: ThreadSanitizer
WERROR  ?= -Werror
V       ?=            # V=1: show the commands
SPEC    ?= tests/spec # make spec SPEC=tests/spec/cli
JOBS    ?= $(shell nproc)

# ---- what there is ----------------------------------------------------------------------------------------
# The rooms of core/, from the top; a room includes only rooms to its right.
ROOMS := server protocol dispatch runtime store job base
VERSION := $(shell cat VERSION)

PKGS    := luajit lmdb libcurl jansson libxxhash libseccomp hiredis glib-2.0
# Asked when first needed (a bare system has no pkg-config yet), and only once.
once    = $(eval $(1) := $(shell $(2)))$($(1))
PKG_CFLAGS = $(call once,PKG_CFLAGS,pkg-config --cflags $(PKGS))
PKG_LIBS   = $(call once,PKG_LIBS,pkg-config --libs $(PKGS))
CFLAGS_ALL = -std=gnu11 -Wall -Wextra $(WERROR) $(OPT) $(SANFLAGS) -Icore -D_GNU_SOURCE \
             -DMOONQ_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CFLAGS)
LIBS = $(PKG_LIBS) -llua5.1-cjson -lev -lpthread -lm
ifeq ($(strip $(SAN)),1)
  SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
  BUILD := build/san
else ifeq ($(strip $(SAN)),thread)
  SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer
  BUILD := build/tsan
endif

SOURCES  := $(shell find core -name '*.c' | sort)
HEADERS  := $(shell find core -name '*.h' | sort)
UNITS    := $(shell find tests/unit -name 'test_*.c' | sort)
UNIT_BIN := $(UNITS:tests/unit/%.c=$(BUILD)/unit/%)
room_objects = $(patsubst %.c,$(BUILD)/%.o,$(filter core/$(1)/%,$(SOURCES)))
ARCHIVES := $(ROOMS:%=$(BUILD)/%.a)

# The Lua client's C modules, for programs outside the binary: moonq_redis is core/runtime/client.c.
LUA_MODULES := build/lua/moonq_redis.so build/lua/moonq_posix.so
NODE_MODULES := build/node_modules/ioredis

# ---- how it is made ---------------------------------------------------------------------------------------
.PHONY: all
all: $(BUILD)/moonq build/lua  ## build the server, build/moonq, and the Lua client's modules

# What a recipe shows: its verb and its target, or with V=1 the command.
quiet = $(if $(strip $(V)),,@printf '  %-4s %s\n' '$(1)' '$@';)

$(BUILD)/moonq: $(BUILD)/core/main.o $(ARCHIVES)
	$(call quiet,LINK)$(CC) $(SANFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define room_rule
$(BUILD)/$(1).a: $(call room_objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach room,$(ROOMS),$(eval $(call room_rule,$(room))))

# tests/unit/<room>/test_x.c links that room and those below it, and the files beside it that are no test.
helpers = $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/$(1)test_%,$(wildcard tests/unit/$(1)*.c)))
below = $(if $(filter $(1),$(firstword $(2))),$(2),$(call below,$(1),$(wordlist 2,99,$(2))))
.SECONDARY: # objects of tests are kept
.SECONDEXPANSION:
$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $$(call helpers,$$(dir $$*)) $$(patsubst $$(percent),$(BUILD)/$$(percent).a,$$(call below,$$(firstword $$(subst /, ,$$*)),$(ROOMS)))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(SANFLAGS) -o $@ $^ -lcmocka $(LIBS)
percent := %

.PHONY: build/lua
build/lua: $(LUA_MODULES)
lua_module = $(CC) -std=gnu11 -Wall -Wextra $(WERROR) $(OPT) -fPIC -shared -Icore -D_GNU_SOURCE \
             $(PKG_CFLAGS) -o $@ $< $(1)
build/lua/moonq_redis.so: core/runtime/client.c core/runtime/client.h
	@mkdir -p $(@D)
	$(call quiet,CC)$(call lua_module,-lhiredis -lm)
build/lua/moonq_posix.so: core/runtime/posix.c core/runtime/posix.h
	@mkdir -p $(@D)
	$(call quiet,CC)$(call lua_module,-lm)

# npm brings its own list of authorities; this machine's list is the one that counts.
CA_BUNDLE := $(wildcard /etc/ssl/certs/ca-certificates.crt)
$(NODE_MODULES):
	@mkdir -p build
	$(call quiet,NPM)npm install --prefix build --loglevel=error --no-audit --no-fund --no-update-notifier \
		$(CA_BUNDLE:%=--cafile=%) ioredis@5 >build/npm.log 2>&1 || { cat build/npm.log; exit 1; }
	@touch $@

# ---- the two commands -------------------------------------------------------------------------------------
# Each first installs what it needs, then starts make anew: a bare system has no compiler to ask before that.
.PHONY: demo
demo:                      ## the main job, end to end: examples/signup-email
	@.ci/deps build demo
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@LUA_PATH="./stdlib/?.lua;;" LUA_CPATH="./build/lua/?.so;;" MOONQ_BINARY="$(CURDIR)/$(BUILD)/moonq" \
		luajit examples/signup-email/demo.lua

.PHONY: test
test:                      ## all tests: C units, specs, and short rounds of simulation, crashes and fuzzing
	@.ci/deps build demo test fuzz
	@$(MAKE) --no-print-directory -j$(JOBS) all test-programs
	@status=0; for kind in unit spec $(SHORT_ROUNDS); do echo "== $$kind"; \
		$(MAKE) --no-print-directory $$kind || { echo "failed: $$kind"; status=1; }; done; exit $$status

# The crash tests preload a shim, and the fuzz targets bring sanitizers of their own: neither goes with SAN.
SHORT_ROUNDS := sim-short $(if $(strip $(SAN)),,crash-short fuzz-short)

# ---- tests --------------------------------------------------------------------------------------------------
.PHONY: test-programs
test-programs: $(UNIT_BIN) $(NODE_MODULES)

.PHONY: unit
unit: $(UNIT_BIN)          ## C unit tests
	@tests/unit/run $(UNIT_BIN)

.PHONY: spec
spec: all $(NODE_MODULES)  ## specs against the real server; SPEC=tests/spec/cli for some
	@MOONQ_BINARY="$(CURDIR)/$(BUILD)/moonq" NODE_PATH="$(CURDIR)/build/node_modules" \
		luajit /usr/bin/busted $(SPEC)

# ---- order in the house ---------------------------------------------------------------------------------------
.PHONY: lint
lint: lint-format lint-arrows lint-lua lint-docs lint-tidy  ## formatting, static analysis, which room includes which
	@echo "lint: nothing to complain about"

C_FILES := $(SOURCES) $(HEADERS) $(shell find tests -name '*.[ch]' -not -path '*/node_modules/*' | sort)
.PHONY: lint-format
lint-format:
	@clang-format --dry-run -Werror $(C_FILES)

.PHONY: lint-arrows
lint-arrows:
	@.ci/arrows $(ROOMS)

.PHONY: lint-lua
lint-lua:
	@luacheck --quiet --no-color stdlib scripts tests examples

# Generated pages say what the code says.
DOC_PAGES := protocol configuration states errors hostcalls
.PHONY: lint-docs
lint-docs: $(BUILD)/moonq
	@for page in $(DOC_PAGES); do $(BUILD)/moonq docs $$page | diff -u docs/$$page.md - || { echo "stale: make docs"; exit 1; }; done

# clang-tidy takes seconds a file: only those that changed (an object is newer) are read again.
.PHONY: lint-tidy
lint-tidy:
	@$(MAKE) --no-print-directory -j$(JOBS) $(SOURCES:%.c=$(BUILD)/tidy/%.ok)
$(BUILD)/tidy/%.ok: %.c $(BUILD)/%.o .clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(CFLAGS_ALL) 2>/dev/null || { echo "clang-tidy: $<"; exit 1; }
	@touch $@

.PHONY: format
format:                    ## clang-format all C files in place
	@clang-format -i $(C_FILES)

.PHONY: docs
docs: $(BUILD)/moonq       ## write the generated pages anew
	@for page in $(DOC_PAGES); do $(BUILD)/moonq docs $$page > build/page && cp build/page docs/$$page.md || exit 1; done

# ---- installing -------------------------------------------------------------------------------------------------
.PHONY: deps
deps:                      ## install the packages that are missing: packages.txt
	@.ci/deps build demo test

SHARE = $(DESTDIR)$(PREFIX)/share/moonq
.PHONY: install
install: $(BUILD)/moonq    ## to PREFIX (/usr/local), below DESTDIR
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(SHARE)"
	install -m 755 $(BUILD)/moonq "$(DESTDIR)$(PREFIX)/bin/moonq"
	cd "$(CURDIR)" && find stdlib scripts -name '*.lua' -exec install -D -m 644 {} "$(SHARE)/{}" \;

.PHONY: uninstall
uninstall:                 ## remove what `make install` put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/moonq"
	rm -rf "$(SHARE)"

.PHONY: clean
clean:                     ## remove what was built
	rm -rf build

.PHONY: help
help:                      ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

-include tests/*/*.mk
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
