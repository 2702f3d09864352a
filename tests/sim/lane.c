// SPDX-License-Identifier: Apache-2.0
// The lane protocol against a model of Kafka that loses, delays, repeats, fences and dies (see
// model/sim.h). One seed is one run.
//
//   tests/sim/lane                   TAP: all of what follows, of each a little
//   tests/sim/lane SEED              one run, with its last lines
//   tests/sim/lane SEED COUNT [OFF]  that many runs; OFF = bits of the rules that are off
//   tests/sim/lane fresh             fresh seeds only, with the figures
//   tests/sim/lane rules             each rule off: how many seeds until a violation is found
//   tests/sim/lane kills [SEED]      one run per place where a worker can be killed
//
// KASAGA_SIM_SEEDS and KASAGA_SIM_FROM: which fresh seeds (100 from 1). KASAGA_SIM_SECONDS: as many
// of them (without a number: of all) as there is time for, on all cores. After 2,000 of them a
// fault that never hit is a failure too. KASAGA_SIM_CANARY: the seed in which a violation is made
// on purpose.
#include "model/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    JOBS_MAX = 64,
    FAILURES_MAX = 20,
    RULE_SEEDS = 1000,
    CHECK_SEEDS = 100,
    KILL_RUNS = 200,
    FLOOR_SEEDS = 2000
};

static const char *const fault_names[] = {
#define X(name) #name,
    SIM_FAULTS(X)
#undef X
};

// Each can be turned off, and then a broken promise must be found.
static const struct {
    int bit;
    const char *claim;
} rules[] = {
    {1, "1: a transaction has a cap"},
    {2, "2: an abort undoes the states"},
    {RULE_SEEK, "2: nothing is taken before the seek has succeeded"},
    {3, "3: results survive an abort"},
    {4, "4: every transaction sends offsets"},
    {5, "5: an unclear outcome is settled by a new epoch and the token"},
    {RULE_DIRTY, "5: a producer that tried again unasked is reset"},
    {6, "6: no commit with a partition that is gone"},
    {RULE_MEMBERSHIP, "6: no commit without membership"},
    {7, "7: calls need a young proof of membership"},
    {RULE_AFTER_COMMIT, "7: calls leave after their commit"},
    {RULE_RESULT_EPOCH, "7: results of another assignment are dropped"},
    {8, "8: one state of each key per transaction"},
    {9, "9: a revoked partition is let go in time"},
    {RULE_LOST_CALLS, "9: calls for what was lost are not made"},
    {10, "10: a dead owner is fenced"},
    {RULE_CLAIM, "10: a new owner claims before it processes"},
    {RULE_NEVER_A_MEMBER, "10: a member is never fenced"},
    {11, "11: a record that cannot be written is found"},
    {12, "12: timers come after what could be read"},
    {RULE_LANE_TIME, "12: lane time never goes back over a takeover"},
    {13, "13: offsets and state must agree"},
    {RULE_SUM, "13: the states restored are those of the last commit"},
    {14, "14: pressure holds user records"},
    {RULE_STABLE, "restore: from a stable offset"},
    {RULE_RESTORE_ORDER, "restore: the stable offset first, then the end"},
    {RULE_RESTORE_END, "restore: to the high watermark"},
    {RULE_LOW_WATER, "restore: the low-water mark is that of a confirmed commit"},
    {RULE_REAPPEND, "restore: what lags too far behind is written again"},
    {RULE_MAYBE_DONE, "saga: an attempt without an answer may have happened"},
    {RULE_IN_FLIGHT, "saga: so may one in flight when the saga gives up"},
    {RULE_TAKEN_OVER, "saga: so may one in flight at a takeover"},
    {RULE_JOIN, "saga: branches in flight end before their group turns back"},
    {RULE_INCARNATION, "saga: idempotency keys name the incarnation"},
    {RULE_CLOSED_KEYS, "saga: an undo closes the forward key"},
};
enum { RULES = sizeof rules / sizeof rules[0] };

// What the children of a long run write.
struct share {
    struct sim_stats stats;
    int failures;
    struct {
        uint64_t seed;
        char why[400];
    } failed[FAILURES_MAX];
};

static int planned;
static int failed;
static char self[4096]; // this program

static void report(bool ok, const char *format, ...) KA_PRINTF(2, 3);
static void report(bool ok, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("%sok %d - %s\n", ok ? "" : "not ", ++planned, text);
    failed += !ok;
    fflush(stdout);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || text[0] == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static struct sim_result run(uint64_t seed, uint64_t off, bool trace, struct sim_stats *stats)
{
    struct sim_options options = {.seed = seed,
                                  .rules_off = off,
                                  .trace = trace,
                                  .replay = true,
                                  .canary = seed == setting("KASAGA_SIM_CANARY", 0)};
    struct sim_result result;
    sim_run(&options, &result, stats);
    return result;
}

static void explain(uint64_t seed, const char *why)
{
    struct sim_stats ignored = {0};
    printf("# seed %llu: %s\n# again: ", (unsigned long long)seed, why);
    if (setting("KASAGA_SIM_CANARY", 0) != 0)
        printf("KASAGA_SIM_CANARY=%s ", getenv("KASAGA_SIM_CANARY"));
    printf("%s %llu\n", self, (unsigned long long)seed);
    (void)run(seed, 0, true, &ignored);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// ---- Fresh seeds

static void work(struct share *share, uint64_t from, uint64_t to, int step, double until)
{
    for (uint64_t seed = from; seed < to && (until <= 0 || seconds() < until);
         seed += (uint64_t)step) {
        struct sim_result result = run(seed, 0, false, &share->stats);
        if (result.ok)
            continue;
        if (share->failures < FAILURES_MAX) {
            share->failed[share->failures].seed = seed;
            memcpy(share->failed[share->failures].why, result.why, sizeof result.why);
        }
        share->failures++;
    }
}

static void add(struct sim_stats *to, const struct sim_stats *from)
{
    const int64_t *a = (const int64_t *)(const void *)from;
    int64_t *b = (int64_t *)(void *)to;
    for (size_t i = 0; i < sizeof *to / sizeof *b; i++)
        b[i] += a[i];
}

static void print_kinds(const char *title, const char *const *names, const int64_t *counts,
                        int kinds)
{
    printf("# %s:", title);
    for (int i = 0; i < kinds; i++)
        printf(" %s %lld", names[i], (long long)counts[i]);
    printf("\n");
}

static void print_figures(const struct sim_stats *stats, double took)
{
    printf("# %lld seeds in %.1f s: %.1f simulated hours, %lld sagas (%lld completed, %lld "
           "compensated), %lld events\n",
           (long long)stats->runs, took, (double)stats->sim_ms / 3.6e6, (long long)stats->sagas,
           (long long)stats->completed, (long long)stats->compensated, (long long)stats->events);
    printf("# %lld transactions, %lld aborts, %lld unclear outcomes, %lld processes killed, %lld "
           "restores, %lld fenced, %lld calls, %lld runs replayed\n",
           (long long)stats->transactions, (long long)stats->aborts, (long long)stats->unclear,
           (long long)stats->kills, (long long)stats->restores, (long long)stats->takeovers,
           (long long)stats->invocations, (long long)stats->replayed);
    printf("# faults, hit (injected):");
    for (int i = 0; i < FAULT_KINDS; i++)
        printf(" %s %lld (%lld)", fault_names[i], (long long)stats->hit[i],
               (long long)stats->injected[i]);
    printf("\n");
    print_kinds("effects", sim_effect_names, stats->effects, EFFECT_TYPES);
    print_kinds("killed before the effect", sim_effect_names, stats->killed_at, EFFECT_TYPES);
    print_kinds("requests", sim_request_names, stats->requests, REQ_TYPES);
    print_kinds("killed in the request", sim_request_names, stats->killed_in, REQ_TYPES);
    print_kinds("rebalance in the request", sim_request_names, stats->rebalanced_in,
                REQ_PRODUCE + 1);
}

// The floor: each kind of fault was felt, each effect and each request was a worker's last.
static int print_missing(const struct sim_stats *stats)
{
    int missing = 0;
#define MISSING(count, what, name)                                                                 \
    if ((count) == 0) {                                                                            \
        printf("# never: %s %s\n", what, name);                                                    \
        missing++;                                                                                 \
    }
    for (int i = 0; i < FAULT_KINDS; i++)
        MISSING(stats->hit[i], "fault", fault_names[i])
    for (int i = 0; i < EFFECT_TYPES; i++)
        MISSING(stats->killed_at[i], "killed before", sim_effect_names[i])
    for (int i = 0; i < REQ_TYPES; i++)
        MISSING(stats->killed_in[i], "killed in", sim_request_names[i])
    for (int i = 0; i <= REQ_PRODUCE; i++)
        MISSING(stats->rebalanced_in[i], "rebalance in", sim_request_names[i])
#undef MISSING
    return missing;
}

static int cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > JOBS_MAX ? JOBS_MAX : (int)online;
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static void run_seeds(uint64_t from, uint64_t count, double time)
{
    int jobs = time > 0 ? cores() : 1;
    struct share *shares = shared(sizeof *shares * JOBS_MAX);
    double began = seconds();
    double until = time > 0 ? began + time : 0;
    for (int i = 1; i < jobs; i++)
        if (fork() == 0) {
            work(&shares[i], from + (uint64_t)i, from + count, jobs, until);
            _exit(0);
        }
    work(&shares[0], from, from + count, jobs, until);
    bool sound = true;
    for (int i = 1, status = 0; i < jobs; i++)
        sound &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    struct sim_stats stats = {0};
    int failures = 0;
    for (int i = 0; i < jobs; i++) {
        add(&stats, &shares[i].stats);
        failures += shares[i].failures;
    }
    for (int i = 0; i < jobs; i++)
        for (int f = 0; f < shares[i].failures && f < (failures > 3 ? 1 : 3); f++)
            explain(shares[i].failed[f].seed, shares[i].failed[f].why);
    print_figures(&stats, seconds() - began);
    report(failures == 0 && sound, "%lld seeds from %llu on keep every promise (%d failed)",
           (long long)stats.runs, (unsigned long long)from, failures);
    if (stats.runs >= FLOOR_SEEDS)
        report(print_missing(&stats) == 0, "every kind of fault has hit, every point was the last");
    munmap(shares, sizeof *shares * JOBS_MAX);
}

// ---- Seeds that have found something

static void run_known(const char *path)
{
    struct sim_stats stats = {0};
    FILE *file = fopen(path, "r");
    char line[300];
    int bad = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (line[0] < '0' || line[0] > '9')
            continue;
        uint64_t seed = strtoull(line, NULL, 10);
        struct sim_result result = run(seed, 0, false, &stats);
        if (!result.ok)
            explain(seed, result.why);
        bad += !result.ok;
    }
    if (file != NULL)
        fclose(file);
    report(stats.runs > 0 && bad == 0, "%lld seeds of %s stay good", (long long)stats.runs, path);
}

// ---- It can fail

struct find { // what a child has found about a rule
    uint64_t seeds;
    bool found;
    char why[400];
};

static void find_violation(int bit, struct find *find)
{
    struct sim_stats stats = {0};
    struct sim_result result = {.ok = true};
    while (result.ok && find->seeds < RULE_SEEDS)
        result = run(++find->seeds, UINT64_C(1) << bit, false, &stats);
    find->found = !result.ok;
    memcpy(find->why, result.why, sizeof find->why);
}

static void run_rules(void)
{
    int jobs = cores();
    struct find *finds = shared(sizeof *finds * RULES);
    for (int job = 0; job < jobs; job++)
        if (fork() == 0) {
            for (int i = job; i < RULES; i += jobs)
                find_violation(rules[i].bit, &finds[i]);
            _exit(0);
        }
    for (int job = 0; job < jobs; job++)
        (void)wait(NULL);
    printf("# seeds until the violation is found, at most %d:\n", RULE_SEEDS);
    for (int i = 0; i < RULES; i++) {
        report(finds[i].found, "without %s: %llu", rules[i].claim,
               (unsigned long long)finds[i].seeds);
        printf("#   %.150s\n", finds[i].why);
    }
    munmap(finds, sizeof *finds * RULES);
}

// Runs a command; what it printed in `text`. Returns its exit status.
static int told(const char *command, char *text, size_t size)
{
    fflush(stdout);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL)
        abort();
    size_t len = fread(text, 1, size - 1, pipe);
    text[len] = '\0';
    while (fgetc(pipe) != EOF)
        continue;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A violation made on purpose goes the way that a real one would: the run fails and names a
// command, and the command fails with the same words.
static void run_canary(void)
{
    static char text[1 << 16];
    static char again[1 << 16];
    char command[sizeof self + 100];
    snprintf(
        command, sizeof command,
        "KASAGA_SIM_SECONDS= KASAGA_SIM_FROM=1 KASAGA_SIM_SEEDS=5 KASAGA_SIM_CANARY=3 %s fresh",
        self);
    int status = told(command, text, sizeof text);
    char *why = strstr(text, "# seed 3: ");
    char *line = strstr(text, "# again: ");
    report(status == 1 && why != NULL && line != NULL, "a canary ends the run with status 1");
    if (why == NULL || line == NULL)
        return;
    why += strlen("# seed 3: ");
    line += strlen("# again: ");
    why[strcspn(why, "\n")] = line[strcspn(line, "\n")] = '\0';
    status = told(line, again, sizeof again);
    report(status == 1 && strstr(again, why) != NULL, "and its command repeats it: %.100s", why);
}

static void run_twice(void)
{
    struct sim_stats stats = {0};
    bool same = true;
    for (uint64_t seed = 1; seed <= 20; seed++)
        same &= run(seed, 0, false, &stats).hash == run(seed, 0, false, &stats).hash;
    report(same, "the same seed gives the same run");
}

// ---- A worker dies at each place where it can, once per run, and nothing else goes wrong

static void run_kills(uint64_t seed, int64_t most)
{
    struct sim_stats stats = {0};
    struct sim_options options = {.seed = seed, .replay = true, .kill_point = INT64_MAX};
    struct sim_result result;
    sim_run(&options, &result, &stats);
    int64_t points = stats.points;
    int64_t stride = points / most + 1;
    int bad = !result.ok;
    for (options.kill_point = 1; options.kill_point <= points; options.kill_point += stride) {
        sim_run(&options, &result, &stats);
        if (!result.ok)
            printf("# seed %llu, killed at %lld: %s\n", (unsigned long long)seed,
                   (long long)options.kill_point, result.why);
        bad += !result.ok;
    }
    report(points > 0 && stats.kills >= stats.runs - 1 && bad == 0,
           "killed at each %lldth of %lld points: %lld runs, %d failed", (long long)stride,
           (long long)points, (long long)stats.runs, bad);
}

// ---- By hand

static int by_hand(int argc, char **argv)
{
    uint64_t from = strtoull(argv[1], NULL, 10);
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t off = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    struct sim_stats stats = {0};
    uint64_t hash = 0;
    int bad = 0;
    double began = seconds();
    for (uint64_t seed = from; seed < from + count; seed++) {
        struct sim_result result = run(seed, off, count == 1, &stats);
        hash = hash * 31 + result.hash;
        if (!result.ok)
            printf("seed %llu: %s\n", (unsigned long long)seed, result.why);
        bad += !result.ok;
    }
    print_figures(&stats, seconds() - began);
    printf("%d of %llu failed, hash %016llx\n", bad, (unsigned long long)count,
           (unsigned long long)hash);
    return bad != 0;
}

static void run_fresh(void)
{
    uint64_t time = setting("KASAGA_SIM_SECONDS", 0);
    uint64_t count = setting("KASAGA_SIM_SEEDS", time > 0 ? UINT64_MAX / 2 : CHECK_SEEDS);
    run_seeds(setting("KASAGA_SIM_FROM", 1), count, (double)time);
}

static void run_all(void)
{
    run_known("tests/sim/seeds.txt");
    run_fresh();
    run_kills(1, KILL_RUNS);
    run_twice();
    run_canary();
    run_rules();
}

int main(int argc, char **argv)
{
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        abort();
    if (argc > 1 && argv[1][0] >= '0' && argv[1][0] <= '9')
        return by_hand(argc, argv);
    if (argc == 1)
        run_all();
    else if (strcmp(argv[1], "fresh") == 0)
        run_fresh();
    else if (strcmp(argv[1], "rules") == 0)
        run_rules();
    else if (strcmp(argv[1], "kills") == 0)
        run_kills(argc > 2 ? strtoull(argv[2], NULL, 10) : 1, INT64_MAX);
    else
        return 2;
    printf("1..%d\n", planned);
    return failed != 0;
}
