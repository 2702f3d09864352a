// SPDX-License-Identifier: Apache-2.0
// What the programs of the simulator have in common: fresh seeds, seeds that found something, rules
// that are switched off, kills, the canary, runs by hand, and their figures.
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, FAILURES_MAX = 20, RULE_SEEDS = 1000, CHECK_SEEDS = 100, FLOOR_SEEDS = 2000 };

static const char *const fault_names[] = {
#define X(name) #name,
    SIM_FAULTS(X)
#undef X
};

// What the children of a long run write.
struct share {
    struct sim_stats stats;
    int failures;
    struct {
        uint64_t seed;
        char why[400];
    } failed[FAILURES_MAX];
};

static const struct sim_suite *suite;
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
                                  .links = suite->links,
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
    printf("# %lld seeds in %.1f s: %.1f simulated hours, %lld events, ", (long long)stats->runs,
           took, (double)stats->sim_ms / 3.6e6, (long long)stats->events);
    if (suite->links)
        printf("%lld records, %lld copies, %lld dropped, %lld stops\n", (long long)stats->born,
               (long long)stats->copies, (long long)stats->dropped, (long long)stats->stuck);
    else
        printf("%lld sagas (%lld completed, %lld compensated)\n", (long long)stats->sagas,
               (long long)stats->completed, (long long)stats->compensated);
    printf("# %lld transactions, %lld aborts, %lld unclear outcomes, %lld processes killed, %lld "
           "restores, %lld fenced, %lld calls, %lld runs replayed\n",
           (long long)stats->transactions, (long long)stats->aborts, (long long)stats->unclear,
           (long long)stats->kills, (long long)stats->restores, (long long)stats->takeovers,
           (long long)stats->invocations, (long long)stats->replayed);
    printf("# faults, hit (injected):");
    for (int i = 0; i < FAULT_KINDS; i++)
        if (suite->faults >> i & 1)
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
        if (suite->faults >> i & 1)
            MISSING(stats->hit[i], "fault", fault_names[i])
    for (int i = 0; i < EFFECT_TYPES; i++)
        if (suite->effects >> i & 1)
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
    struct find *finds = shared(sizeof *finds * suite->rule_count);
    for (int job = 0; job < jobs; job++)
        if (fork() == 0) {
            for (size_t i = (size_t)job; i < suite->rule_count; i += (size_t)jobs)
                find_violation(suite->rules[i].bit, &finds[i]);
            _exit(0);
        }
    for (int job = 0; job < jobs; job++)
        (void)wait(NULL);
    printf("# seeds until the violation is found, at most %d:\n", RULE_SEEDS);
    for (size_t i = 0; i < suite->rule_count; i++) {
        report(finds[i].found, "without %s: %llu", suite->rules[i].claim,
               (unsigned long long)finds[i].seeds);
        printf("#   %.150s\n", finds[i].why);
    }
    munmap(finds, sizeof *finds * suite->rule_count);
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
    struct sim_options options = {
        .seed = seed, .links = suite->links, .replay = true, .kill_point = INT64_MAX};
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

static void run_fresh(uint64_t seeds_share, uint64_t time_share)
{
    double time = (double)(setting("KASAGA_SIM_SECONDS", 0) * time_share) / 100;
    uint64_t all = time > 0 ? UINT64_MAX / 200 : CHECK_SEEDS * 100 / seeds_share;
    uint64_t count = setting("KASAGA_SIM_SEEDS", all) * seeds_share / 100;
    run_seeds(setting("KASAGA_SIM_FROM", 1), count, time);
}

static void run_all(void)
{
    run_known(suite->seeds);
    run_fresh(suite->seeds_share, suite->time_share);
    run_kills(1, suite->kill_runs);
    run_twice();
    run_canary();
    run_rules();
}

int sim_main(const struct sim_suite *what, int argc, char **argv)
{
    suite = what;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        abort();
    if (argc > 1 && argv[1][0] >= '0' && argv[1][0] <= '9')
        return by_hand(argc, argv);
    if (argc == 1)
        run_all();
    else if (strcmp(argv[1], "fresh") == 0)
        run_fresh(100, 100);
    else if (strcmp(argv[1], "rules") == 0)
        run_rules();
    else if (strcmp(argv[1], "kills") == 0)
        run_kills(argc > 2 ? strtoull(argv[2], NULL, 10) : 1, INT64_MAX);
    else
        return 2;
    printf("1..%d\n", planned);
    return failed != 0;
}
