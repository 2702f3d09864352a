# SPDX-License-Identifier: Apache-2.0
# make [target] [CC=clang] [SAN=address,undefined | SAN=thread] [FAULTS=1] [V=1] [WERROR=1] [BUILD=dir]
# `make help` lists the targets. Sources are found by wildcard: a new file needs no line here.

VERSION    := 0.1.0
PREFIX     ?= /usr/local
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O2 -g
ifeq ($(origin CC),default)
CC := gcc
endif
FUZZ_SECONDS ?= 20
SIM_SEEDS    ?= 1000

comma := ,
BUILD ?= build/$(notdir $(CC))$(if $(SAN),-$(firstword $(subst $(comma), ,$(SAN))))$(if $(FAULTS),-faults)
Q     := $(if $(V),,@)
say    = $(if $(V),@:,@printf '  %-5s %s\n' $(1) $(2))

PKGS  := rdkafka avro-c libconfig libzstd jansson libcurl libcrypto sqlite3 libmicrohttpd
# On a bare machine pkg-config is not there yet: `run` and `test` call tools/setup, then make again.
INCS  := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
LIBS  := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -ljq -ldl -lpthread -lm
WARN  := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
         -Wvla -Wformat=2 -Wundef -Wswitch-enum -Wimplicit-fallthrough -Wcast-qual -Wwrite-strings \
         -Wpointer-arith $(if $(WERROR),-Werror)
# Detail texts are cut at the end of their buffer on purpose.
WARN  += $(if $(findstring clang,$(CC)),,-Wno-format-truncation)
SANS  := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
FLAGS  = -std=c11 $(WARN) -MMD -MP $(SANS) $(if $(FAULTS),-DKASAGA_FAULTS) $(CFLAGS)
LINK   = $(CC) $(SANS) -Wl,--as-needed $(LDFLAGS)

obj  = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
prog = $(patsubst %.c,$(BUILD)/%,$(wildcard $(1)))

CORE    := $(call obj,src/core/*.c)
EDGE    := $(call obj,src/cmd/*.c src/engine/*.c src/bridge/*.c src/view/*.c src/io/*.c)
MAIN    := $(call obj,src/main.c)
LIB     := $(BUILD)/libkasaga.a
BIN     := $(if $(MAIN),$(BUILD)/kasaga)
TLIB    := $(call obj,tests/lib/*.c)
SIM     := $(call prog,tests/sim/*.c)
SIMLIB  := $(call obj,tests/sim/model/*.c) $(patsubst src/core/%.c,$(BUILD)/sim/%.o,$(wildcard src/core/*.c))
REPLAYS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/replay/%,$(wildcard tests/fuzz/*.c))
TESTS   := $(call prog,tests/unit/*.c tests/golden/*.c) $(REPLAYS) $(SIM) $(call prog,tests/mock/*.c)
IT      := $(wildcard tests/it/t_*.sh) $(call prog,tests/it/t_*.c)
FUZZ    := $(call prog,tests/fuzz/*.c)
CHECKER := $(if $(wildcard tests/checker/*.c),$(BUILD)/checker)
TOOLS   := $(call prog,tools/*.c)
PLUGINS := $(patsubst examples/plugins/%.c,$(BUILD)/plugins/%.so,$(wildcard examples/plugins/*.c))
C_FILES  = $(shell find src include tests tools examples -name '*.[ch]')

all: $(BIN) $(LIB) $(TOOLS) $(CHECKER) $(PLUGINS) ## build everything but the tests (the default)
	$(if $(SAN),,$(if $(BIN),@mkdir -p build && ln -sf $(abspath $(BIN)) build/kasaga))

# The core sees POSIX and its own headers only; the edge sees the system and the libraries.
$(CORE): DEFS := -D_POSIX_C_SOURCE=200809L -Isrc
$(EDGE) $(MAIN): DEFS := -D_GNU_SOURCE -DKASAGA_VERSION='"$(VERSION)"' -Iinclude -Isrc $(INCS)
$(BUILD)/tests/% $(BUILD)/tools/%: DEFS := -D_GNU_SOURCE -Iinclude -Isrc -Itests/lib $(INCS)
# The history checker is independent of what it checks: it shares no header and no object with it.
$(BUILD)/tests/checker/%.o: DEFS := -D_GNU_SOURCE $(INCS)

$(BUILD)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(DEFS) $(CPPFLAGS) $(FLAGS) -c $< -o $@
# The configuration of kasaga dev is in the binary: the bytes of the file as a C array.
$(BUILD)/gen/order_conf.inc: conf/order.conf
	@mkdir -p $(@D)
	$(Q)od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g' >$@
$(BUILD)/src/engine/demo.o: $(BUILD)/gen/order_conf.inc
$(BUILD)/src/engine/demo.o: CPPFLAGS += -I$(BUILD)/gen
$(LIB): $(CORE) $(EDGE)
	$(call say,AR,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/kasaga: $(MAIN) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ $(LIBS) -o $@
# The simulator has a core of its own: the same sources with the switches of core/rule.h.
$(BUILD)/sim/%.o: src/core/%.c
	$(call say,SIM,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_POSIX_C_SOURCE=200809L -DKA_SIM -Isrc $(CPPFLAGS) $(FLAGS) -c $< -o $@
$(BUILD)/tests/sim/%.o: DEFS := -D_GNU_SOURCE -DKA_SIM -Isrc -Itests/lib
$(SIM): %: %.o $(SIMLIB)
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ -lm -o $@
$(REPLAYS): $(BUILD)/tests/replay/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay/main.o $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(LINK) $^ $(LIBS) -o $@
$(filter-out $(SIM) $(REPLAYS),$(TESTS)) $(IT:%.sh=): %: %.o $(TLIB) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ $(LIBS) -lcmocka -o $@
$(FUZZ): %: %.o $(LIB)
	$(call say,LINK,$@)
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(LIBS) -o $@
# Neither check* (independent of what they check) nor topic (works before anything else does).
$(filter-out $(BUILD)/tools/check% $(BUILD)/tools/topic,$(TOOLS)): $(LIB)
$(TOOLS): %: %.o
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ $(LIBS) -o $@
$(CHECKER): $(call obj,tests/checker/*.c)
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ $(shell $(PKG_CONFIG) --libs rdkafka avro-c jansson) -lpthread -lm -o $@
$(BUILD)/plugins/%.so: examples/plugins/%.c
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_POSIX_C_SOURCE=200809L -Iinclude $(CPPFLAGS) $(FLAGS) -shared -fPIC $(LDFLAGS) $< -o $@

# Entry points: they set the machine up first, so they work on a fresh one.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
run: ## build, then a first look: kasaga dev, sagas at work without a Kafka
	@tools/setup --build
	+@$(MAKE) --no-print-directory $(JOBS) all
	build/kasaga dev
setup: ## install the packages and Kafka's jars that building and testing need
	tools/setup
test: ## everything: check, then the tests against a real Kafka (started here unless KASAGA_BOOTSTRAP is set)
	@tools/setup
	+@$(MAKE) --no-print-directory $(JOBS) all test-programs pure faults
	+@set -e; for s in $(SIM); do tools/sim-determinism $$s $(if $(shell command -v clang),clang$(comma)-O0$(comma)); done
	@KASAGA_BUILD=$(abspath $(BUILD)) KASAGA_SIM_SECONDS=120 KASAGA_SIM_SEEDS=40000 tools/run-tests $(TESTS) $(IT)
check: all test-programs pure ## the quick loop: unit, golden, sim, mock and pure; no broker
	@KASAGA_BUILD=$(abspath $(BUILD)) tools/run-tests $(TESTS)
faults: ## kasaga with the kill points of src/engine/kill.h, in $(BUILD)-faults
	+@$(MAKE) --no-print-directory $(JOBS) FAULTS=1 BUILD=$(BUILD)-faults $(BUILD)-faults/kasaga
test-programs: $(TESTS) $(filter-out %.sh,$(IT))
sanitize: ## check with clang under ASan and UBSan, then with gcc under TSan
	+@$(MAKE) --no-print-directory $(JOBS) CC=clang SAN=address,undefined check
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc SAN=thread check
sim: $(SIM) ## longer simulation: SIM_SEEDS=1000 seeds, or SECONDS=n on all cores; prints its figures
	@set -e; for s in $(SIM); do KASAGA_SIM_SEEDS=$(if $(SECONDS),,$(SIM_SEEDS)) KASAGA_SIM_SECONDS=$(SECONDS) $$s fresh; done
# The same seeds give the same runs, whoever compiled them. A first run with $(SIM) is the measure.
DETERMINISM := gcc,-O0, gcc,-O2, clang,-O0, clang,-O2, gcc,-O1,address clang,-O1,address,undefined
sim-determinism: $(SIM) ## the same seeds give the same hash: gcc and clang, -O0 and -O2, with and without ASan
	+@set -e; for s in $(SIM); do tools/sim-determinism $$s $(DETERMINISM); done
fuzz: ## fuzz each decoder for FUZZ_SECONDS=20 with clang's libFuzzer, ASan and UBSan
	+@$(MAKE) --no-print-directory $(JOBS) CC=clang SAN=fuzzer-no-link,address,undefined fuzz-run
fuzz-run: $(FUZZ)
	@set -e; for f in $(FUZZ); do n=$$(basename $$f); mkdir -p build/fuzz/$$n; \
	    echo "fuzz $$n"; $$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$n- build/fuzz/$$n $$(ls -d tests/fuzz/corpus/$$n 2>/dev/null) >build/fuzz/$$n.log 2>&1 \
	    || { tail -40 build/fuzz/$$n.log; exit 1; }; grep -E 'number_of_executed|peak_rss' build/fuzz/$$n.log; done
# Those tests of tests/it that break something: requests, brokers, workers, the network.
FAULT_IT := $(wildcard tests/it/t_fault_*.sh $(addprefix tests/it/t_,$(addsuffix .sh,canary kill9 killpoints takeover timeout zombie)))
fault-suite: all test-programs faults ## the tests with faults on a real Kafka, RUNS=1 times in a row
	@for i in $$(seq $(or $(RUNS),1)); do KASAGA_BUILD=$(abspath $(BUILD)) tools/run-tests $(FAULT_IT) || exit 1; done
soak: all faults ## random faults for MINUTES=30 on three brokers and three workers
	@KASAGA_BUILD=$(abspath $(BUILD)) tests/it/soak.sh $(or $(MINUTES),30)
bench: all ## measure on a real Kafka (BENCH_ARGS are passed to tools/bench)
	@if [ -x tools/bench ]; then KASAGA_BUILD=$(abspath $(BUILD)) tools/bench $(BENCH_ARGS); \
	 else echo 'bench: there is no tools/bench'; fi
pure: $(CORE) ## no object of the core may want I/O, a clock, randomness, threads or a library
	@tools/pure $^
lint: ## clang-format and the gates of tools/lint
	@$(if $(C_FILES),clang-format --dry-run -Werror $(C_FILES))
	@tools/lint
install: all ## install below $(DESTDIR)$(PREFIX)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include/kasaga lib/kasaga/plugins share/man/man1 share/man/man5 share/kasaga/schemas share/kasaga/conf/regions)
	$(if $(BIN),install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/)
	$(call put,include/kasaga/*.h,include/kasaga)
	$(call put,docs/man/*.1,share/man/man1)
	$(call put,docs/man/*.5,share/man/man5)
	$(call put,schemas/*.avsc,share/kasaga/schemas)
	$(call put,conf/*.conf,share/kasaga/conf)
	$(call put,conf/regions/*.conf,share/kasaga/conf/regions)
	$(if $(PLUGINS),install -m 755 $(PLUGINS) $(DESTDIR)$(PREFIX)/lib/kasaga/plugins/)
put = $(if $(wildcard $(1)),install -m 644 $(wildcard $(1)) $(DESTDIR)$(PREFIX)/$(2)/)
clean: ## remove what was built (Kafka's jars stay: tools/setup would only fetch them again)
	@mkdir -p build && find build -mindepth 1 -maxdepth 1 ! -name kafka -exec rm -rf {} +
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' Makefile

.PHONY: all run setup test check faults fault-suite soak test-programs sanitize sim sim-determinism fuzz fuzz-run bench pure lint install clean help
.SECONDARY:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
