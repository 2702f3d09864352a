// SPDX-License-Identifier: Apache-2.0
// The lane protocol against a model of Kafka that loses, delays, repeats, fences and dies (see
// model/sim.h). One seed is one run.
//
//   tests/sim/lane                   TAP: seeds.txt, fresh seeds, each rule off, determinism
//   tests/sim/lane SEED              one run, with its last lines
//   tests/sim/lane SEED COUNT [OFF]  that many runs; OFF = bits of the rules that are off
//
// KASAGA_SIM_SEEDS and KASAGA_SIM_FROM: which fresh seeds (100 from 1). KASAGA_SIM_SECONDS: as many
// as there is time for, on all cores, and the figures.
#include "model/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, FAILURES_MAX = 20, RULE_SEEDS = 1500, CHECK_SEEDS = 100 };

static const char *const fault_names[] = {
#define X(name) #name,
    SIM_FAULTS(X)
#undef X
};

// Each can be turned off, and then a broken promise must be found. Rule 1 is about speed only.
static const struct {
    int bit;
    const char *claim;
} rules[] = {
    {2, "2: an abort undoes the states"},
    {3, "3: results survive an abort"},
    {4, "4: every transaction sends offsets"},
    {5, "5: an unclear outcome is settled by a new epoch and the token"},
    {6, "6: no commit with a partition that is gone, none without membership"},
    {7, "7: calls need a young proof, results their assignment"},
    {8, "8: one state of each key per transaction"},
    {9, "9: a revoked partition is let go in time"},
    {10, "10: a dead owner is fenced"},
    {RULE_CLAIM, "10: a new owner claims before it processes"},
    {RULE_NEVER_A_MEMBER, "10: a member is never fenced"},
    {11, "11: a record that cannot be written is found"},
    {12, "12: timers come after what could be read, lane time never goes back"},
    {13, "13: offsets and state must agree"},
    {14, "14: pressure holds user records"},
    {RULE_RESTORE_ORDER, "restore: the stable offset first, then the end"},
    {RULE_LOW_WATER, "restore: the low-water mark never passes a needed record"},
    {RULE_MAYBE_DONE, "saga: what may have happened is undone"},
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

static struct sim_result run(uint64_t seed, uint32_t off, bool trace, struct sim_stats *stats)
{
    struct sim_options options = {.seed = seed, .rules_off = off, .trace = trace, .replay = true};
    struct sim_result result;
    sim_run(&options, &result, stats);
    return result;
}

static void explain(uint64_t seed, const char *why)
{
    struct sim_stats ignored = {0};
    printf("# seed %llu: %s\n# again: %s/tests/sim/lane %llu\n", (unsigned long long)seed, why,
           getenv("KASAGA_BUILD") != NULL ? getenv("KASAGA_BUILD") : "build/gcc",
           (unsigned long long)seed);
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

static void print_figures(const struct sim_stats *stats, double took)
{
    int points = 0;
    int reached = 0;
    printf("# %lld seeds in %.1f s: %.1f simulated hours, %lld sagas (%lld completed, %lld "
           "compensated),"
           " %lld events\n",
           (long long)stats->runs, took, (double)stats->sim_ms / 3.6e6, (long long)stats->sagas,
           (long long)stats->completed, (long long)stats->compensated, (long long)stats->events);
    printf("# %lld transactions, %lld aborts, %lld unclear outcomes, %lld processes killed, %lld "
           "restores,"
           " %lld fenced, %lld calls, %lld runs replayed\n",
           (long long)stats->transactions, (long long)stats->aborts, (long long)stats->unclear,
           (long long)stats->kills, (long long)stats->restores, (long long)stats->takeovers,
           (long long)stats->invocations, (long long)stats->replayed);
    printf("# faults:");
    for (int i = 0; i < FAULT_KINDS; i++)
        printf(" %s %lld", fault_names[i], (long long)stats->faults[i]);
    printf("\n# killed before:");
    for (int i = 0; i < EFFECT_TYPES; i++) {
        points += stats->effects[i] > 0;
        reached += stats->killed_at[i] > 0;
        printf(" %s %lld", sim_effect_names[i], (long long)stats->killed_at[i]);
    }
    printf("\n# kill points: %d of %d effect types that came\n", reached, points);
}

static void run_seeds(uint64_t from, uint64_t count, double time)
{
    int jobs = time > 0 ? (int)sysconf(_SC_NPROCESSORS_ONLN) : 1;
    jobs = jobs > JOBS_MAX ? JOBS_MAX : jobs;
    struct share *shares = mmap(NULL, sizeof *shares * JOBS_MAX, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shares == MAP_FAILED)
        abort();
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

static void run_rules(void)
{
    for (size_t i = 0; i < RULES; i++) {
        struct sim_stats stats = {0};
        struct sim_result result = {.ok = true};
        uint64_t seed = 0;
        while (result.ok && seed < RULE_SEEDS)
            result = run(++seed, 1U << rules[i].bit, false, &stats);
        report(!result.ok, "without %s: found by seed %llu", rules[i].claim,
               (unsigned long long)seed);
        printf("#   %.150s\n", result.why);
    }
}

static void run_canary(void)
{
    struct sim_stats stats = {0};
    struct sim_options options = {.seed = 1, .canary = true};
    struct sim_result result;
    sim_run(&options, &result, &stats);
    report(!result.ok && result.why[0] != '\0', "a canary is found: %.100s", result.why);
}

static void run_twice(void)
{
    struct sim_stats stats = {0};
    bool same = true;
    for (uint64_t seed = 1; seed <= 20; seed++)
        same &= run(seed, 0, false, &stats).hash == run(seed, 0, false, &stats).hash;
    report(same, "the same seed gives the same run");
}

// ---- By hand

static int by_hand(int argc, char **argv)
{
    uint64_t from = strtoull(argv[1], NULL, 10);
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint32_t off = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 0) : 0;
    struct sim_stats stats = {0};
    uint64_t hash = 0;
    int bad = 0;
    double began = seconds();
    for (uint64_t seed = from; seed < from + count; seed++) {
        struct sim_result result = run(seed, off, argc == 2, &stats);
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

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || text[0] == '\0' ? otherwise : strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return by_hand(argc, argv);
    uint64_t time = setting("KASAGA_SIM_SECONDS", 0);
    uint64_t count = time > 0 ? UINT64_MAX / 2 : setting("KASAGA_SIM_SEEDS", CHECK_SEEDS);
    run_known("tests/sim/seeds.txt");
    run_seeds(setting("KASAGA_SIM_FROM", 1), count, (double)time);
    run_twice();
    run_canary();
    run_rules();
    printf("1..%d\n", planned);
    return failed != 0;
}
