// SPDX-License-Identifier: Apache-2.0
// Binds one configured action to what runs it, counts and times its calls.
//
// Instances of plugins: a pool per runner, one taken for the time of a call. A call that is given
// up keeps its instance; the next call makes another, so there are never more instances than
// threads that have run this action at once.
#include "engine/runner.h"

#include "core/assert.h"
#include "engine/plugin_call.h"
#include "io/clock.h"
#include "io/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ERROR_SIZE = 256 }; // of the text that a plugin's init may write

struct instance {
    void *state; // of the plugin
    struct instance *next;
};

struct counters {
    _Atomic uint64_t started;
    _Atomic uint64_t ended[4];
    _Atomic uint64_t duration_us;
    _Atomic uint64_t buckets[RUNNER_BUCKETS];
};

struct runner {
    enum runner_kind kind;
    bool run_inline;
    int concurrency;
    char *name;
    struct arena memory; // options, argv: constant after runner_new
    // RUNNER_PLUGIN
    const struct kasaga_action *action;
    struct kasaga_options *options;
    pthread_mutex_t lock;
    struct instance *idle; // guarded by lock
    struct instance *shared;
    // RUNNER_EXEC
    struct exec_program program;
    struct counters counters;
    runner_answer *answer; // in its place
    void *answer_context;
};

static int64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

// At most `max` bytes, not in the middle of a UTF-8 sequence.
static struct slice cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s;
    s.len = max;
    while (s.len > 0 && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80)
        s.len--;
    return s;
}

// ----------------------------------------------------------------------------------- instances

static struct instance *make_instance(struct runner *runner, struct err_text *text)
{
    char error[ERROR_SIZE] = "";
    struct instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL) {
        (void)err_set(text, KA_ERR_NOMEM, "action %s: no memory for an instance", runner->name);
        return NULL;
    }
    if (runner->action->init(runner->options, &instance->state, error, sizeof error) == 0)
        return instance;
    free(instance);
    (void)err_set(text, KA_ERR_CONFIG, "action %s: init failed: %.*s", runner->name, ERROR_SIZE - 1,
                  error[0] != '\0' ? error : "no reason given");
    return NULL;
}

static bool takes_turns(const struct runner *runner)
{
    return runner->action->init != NULL && (runner->action->flags & KASAGA_ACTION_SHARED) == 0;
}

static struct instance *take_instance(struct runner *runner, struct err_text *text)
{
    if (!takes_turns(runner))
        return runner->shared;
    pthread_mutex_lock(&runner->lock);
    struct instance *instance = runner->idle;
    if (instance != NULL)
        runner->idle = instance->next;
    pthread_mutex_unlock(&runner->lock);
    return instance != NULL ? instance : make_instance(runner, text);
}

static void put_instance(struct runner *runner, struct instance *instance)
{
    if (!takes_turns(runner))
        return;
    pthread_mutex_lock(&runner->lock);
    instance->next = runner->idle;
    runner->idle = instance;
    pthread_mutex_unlock(&runner->lock);
}

static void free_instance(const struct runner *runner, struct instance *instance)
{
    if (runner->action->fini != NULL)
        runner->action->fini(instance->state);
    free(instance);
}

// ------------------------------------------------------------------------------------ the calls

static void run_plugin(struct runner *runner, const struct invocation *invocation,
                       const struct runner_place *place, struct arena *arena,
                       struct action_result *result)
{
    struct watch *watch = runner->run_inline ? place->watch : NULL;
    struct err_text why;
    struct instance *instance = take_instance(runner, &why);
    if (instance == NULL && runner->action->init != NULL) {
        result->outcome = OUTCOME_RETRY;
        result->code = SLICE_LIT("no_instance");
        result->message = arena_copy(arena, slice_str(why.text));
        return;
    }
    struct plugin_call call = {
        .action = runner->action,
        .name = runner->name,
        .instance = instance != NULL ? instance->state : NULL,
        .run_inline = runner->run_inline,
        .invocation = invocation,
        .deadline_ms = place->deadline_ms,
        .stop = place->stop,
    };
    if (watch != NULL)
        watch_begin(watch, runner->name, invocation->key);
    plugin_call_run(&call, arena, result);
    if (watch != NULL)
        watch_end(watch);
    put_instance(runner, instance);
}

static void run_program(struct runner *runner, const struct invocation *invocation,
                        const struct runner_place *place, struct arena *arena,
                        struct action_result *result)
{
    struct exec_report report;
    struct exec_limits limits = {
        .deadline_ms = place->deadline_ms,
        .stop_fd = place->stop_fd > 0 ? place->stop_fd : -1,
    };
    exec_run(&runner->program, invocation, &limits, arena, result, &report);
    if (report.stderr_text.len == 0)
        return;
    log_at(result->outcome == OUTCOME_OK ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "runner", "stderr",
           "action=%s saga=%.*s step=%s attempt=%d text=%.*s", runner->name,
           SLICE_FMT(invocation->key), invocation->step_name, invocation->attempt,
           (int)report.stderr_text.len, report.stderr_text.ptr);
}

// ------------------------------------------------------------------------------------- counting

static const int64_t bucket_us[RUNNER_BUCKETS] = {
    100,    1000,   5000,    10000,   25000,    50000,     100000,
    250000, 500000, 1000000, 5000000, 30000000, INT64_MAX,
};

int64_t runner_bucket_us(size_t bucket)
{
    KA_ASSERT(bucket < RUNNER_BUCKETS);
    return bucket_us[bucket];
}

static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

void runner_count_end(struct runner *runner, enum outcome outcome, int64_t took_us)
{
    struct counters *counters = &runner->counters;
    size_t bucket = 0;
    while (took_us > bucket_us[bucket])
        bucket++;
    add(&counters->ended[outcome], 1);
    add(&counters->duration_us, (uint64_t)took_us);
    add(&counters->buckets[bucket], 1);
}

int64_t runner_percentile_us(const struct runner_stats *stats, int percent)
{
    uint64_t all = 0, below = 0;
    for (size_t i = 0; i < RUNNER_BUCKETS; i++)
        all += stats->buckets[i];
    for (size_t i = 0; all > 0 && i < RUNNER_BUCKETS; i++) {
        below += stats->buckets[i];
        if (below * 100 >= all * (uint64_t)percent)
            return bucket_us[i];
    }
    return 0;
}

void runner_read_stats(const struct runner *runner, struct runner_stats *stats)
{
    const struct counters *counters = &runner->counters;
    stats->started = atomic_load_explicit(&counters->started, memory_order_relaxed);
    stats->duration_us = atomic_load_explicit(&counters->duration_us, memory_order_relaxed);
    for (size_t i = 0; i < 4; i++)
        stats->ended[i] = atomic_load_explicit(&counters->ended[i], memory_order_relaxed);
    for (size_t i = 0; i < RUNNER_BUCKETS; i++)
        stats->buckets[i] = atomic_load_explicit(&counters->buckets[i], memory_order_relaxed);
}

static void run(struct runner *runner, const struct invocation *invocation,
                const struct runner_place *place, struct arena *arena, struct action_result *result)
{
    if (runner->answer != NULL) {
        runner->answer(runner->answer_context, invocation, arena, result);
        return;
    }
    switch (runner->kind) {
    case RUNNER_PLUGIN:
        run_plugin(runner, invocation, place, arena, result);
        break;
    case RUNNER_EXEC:
        run_program(runner, invocation, place, arena, result);
        break;
    }
}

void runner_run(struct runner *runner, const struct invocation *invocation,
                const struct runner_place *place, struct arena *arena, struct action_result *result)
{
    KA_ASSERT(invocation->attempt >= 1);
    KA_ASSERT(!slice_none(invocation->input));
    struct runner_place here = place != NULL ? *place : (struct runner_place){0};
    int64_t began_us = now_us();
    if (here.deadline_ms == 0)
        here.deadline_ms = began_us / 1000 + invocation->timeout_ms;
    memset(result, 0, sizeof *result);
    add(&runner->counters.started, 1);
    run(runner, invocation, &here, arena, result);
    result->code = cut(result->code, RUNNER_CODE_MAX);
    result->message = cut(result->message, RUNNER_MESSAGE_MAX);
    if (!here.counts_itself)
        runner_count_end(runner, result->outcome, now_us() - began_us);
    KA_ASSERT(result->outcome == OUTCOME_OK ? result->data.len >= 2 : result->code.len > 0);
    KA_ASSERT(result->outcome != OUTCOME_UNKNOWN || result->maybe_done);
}

// ----------------------------------------------------------------------------- making and ending

static enum ka_err bind_plugin(struct runner *runner, const struct runner_config *config,
                               struct err_text *text)
{
    const char *name = config->action != NULL ? config->action : config->name;
    KA_ASSERT(config->plugin != NULL);
    runner->action = io_plugin_lookup(config->plugin, name);
    if (runner->action == NULL)
        return err_set(text, KA_ERR_CONFIG, "action %s: plugin %s has no action \"%s\"",
                       runner->name, io_plugin_path(config->plugin), name);
    enum ka_err err = io_plugin_options(runner->action, config->options, config->run_inline,
                                        &runner->memory, &runner->options, text);
    if (err != KA_OK || runner->action->init == NULL)
        return err;
    struct instance *first = make_instance(runner, text);
    if (first == NULL)
        return KA_ERR_CONFIG;
    if (takes_turns(runner))
        runner->idle = first;
    else
        runner->shared = first;
    return KA_OK;
}

static size_t count_texts(const char *const *list)
{
    size_t count = 0;
    while (list != NULL && list[count] != NULL)
        count++;
    return count;
}

static const char *const *copy_texts(struct arena *arena, const char *const *list)
{
    size_t count = count_texts(list);
    const char **copy = arena_zalloc(arena, (count + 1) * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = arena_str(arena, slice_str(list[i]));
    return copy;
}

static enum ka_err bind_program(struct runner *runner, const struct runner_config *config,
                                struct err_text *text)
{
    const struct exec_program *program = &config->program;
    size_t args = count_texts(program->argv);
    if (args == 0 || args > EXEC_ARGS_MAX || program->argv[0][0] == '\0')
        return err_set(text, KA_ERR_CONFIG,
                       "action %s: a program and at most %d arguments, not %zu", runner->name,
                       EXEC_ARGS_MAX - 1, args);
    if (count_texts(program->env_names) > EXEC_ENV_MAX)
        return err_set(text, KA_ERR_CONFIG, "action %s: more than %d names in env", runner->name,
                       EXEC_ENV_MAX);
    if (config->run_inline)
        return err_set(text, KA_ERR_CONFIG, "action %s: a program cannot run inline", runner->name);
    runner->program.argv = copy_texts(&runner->memory, program->argv);
    runner->program.env_names = copy_texts(&runner->memory, program->env_names);
    if (program->directory != NULL)
        runner->program.directory = arena_str(&runner->memory, slice_str(program->directory));
    return KA_OK;
}

enum ka_err runner_new(enum runner_kind kind, const struct runner_config *config,
                       struct runner **runner, struct err_text *text)
{
    KA_ASSERT(config->name != NULL);
    *runner = NULL;
    struct runner *made = calloc(1, sizeof *made);
    if (made == NULL || (made->name = strdup(config->name)) == NULL) {
        free(made);
        return err_set(text, KA_ERR_NOMEM, "action %s", config->name);
    }
    made->kind = kind;
    made->run_inline = config->run_inline;
    made->concurrency = config->concurrency;
    pthread_mutex_init(&made->lock, NULL);
    enum ka_err err =
        kind == RUNNER_PLUGIN ? bind_plugin(made, config, text) : bind_program(made, config, text);
    if (err != KA_OK) {
        runner_free(&made);
        return err;
    }
    *runner = made;
    return KA_OK;
}

void runner_free(struct runner **runner)
{
    struct runner *gone = *runner;
    if (gone == NULL)
        return;
    for (struct instance *next; gone->idle != NULL; gone->idle = next) {
        next = gone->idle->next;
        free_instance(gone, gone->idle);
    }
    if (gone->shared != NULL)
        free_instance(gone, gone->shared);
    pthread_mutex_destroy(&gone->lock);
    arena_fini(&gone->memory);
    free(gone->name);
    free(gone);
    *runner = NULL;
}

void runner_answer_with(struct runner *runner, runner_answer *answer, void *context)
{
    runner->answer = answer;
    runner->answer_context = context;
}

enum runner_kind runner_kind(const struct runner *runner)
{
    return runner->kind;
}

const char *runner_name(const struct runner *runner)
{
    return runner->name;
}

bool runner_is_inline(const struct runner *runner)
{
    return runner->run_inline;
}

int runner_concurrency(const struct runner *runner)
{
    return runner->concurrency;
}

const struct kasaga_action *runner_action(const struct runner *runner)
{
    return runner->action;
}

// "250000", or "over" for what is beyond the last bound.
static const char *bound_text(int64_t bound_us, char text[24])
{
    if (bound_us == INT64_MAX)
        snprintf(text, 24, "over");
    else
        snprintf(text, 24, "%lld", (long long)bound_us);
    return text;
}

void runner_log_stats(const struct runner *runner)
{
    struct runner_stats stats;
    char median[24], most[24];
    runner_read_stats(runner, &stats);
    if (stats.started == 0)
        return;
    log_info("action", "stats",
             "action=%s started=%llu ok=%llu fail=%llu retry=%llu unknown=%llu mean_us=%llu "
             "p50_us=%s p99_us=%s",
             runner->name, (unsigned long long)stats.started,
             (unsigned long long)stats.ended[OUTCOME_OK],
             (unsigned long long)stats.ended[OUTCOME_FAIL],
             (unsigned long long)stats.ended[OUTCOME_RETRY],
             (unsigned long long)stats.ended[OUTCOME_UNKNOWN],
             (unsigned long long)(stats.duration_us / stats.started),
             bound_text(runner_percentile_us(&stats, 50), median),
             bound_text(runner_percentile_us(&stats, 99), most));
}
