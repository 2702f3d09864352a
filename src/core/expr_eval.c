// SPDX-License-Identifier: Apache-2.0
// Runs a native program. jq is a backtracking machine: an expression gives any number of outputs,
// each goes on through the rest of the program, then control comes back for the next one. Here the
// rest of the program is a function (struct next) that is called once per output and says how to
// go on. The scenarios that made this the form:
//   1. {a: (.x, .y), b: .z} gives an object per output of each member, the first key outermost.
//   2. [.a?, .b] holds one element when .a fails: no output is not null.
//   3. (.a)? | .b: jq 1.6 also suppresses the error of .b, which happens while (.a)? may still
//      give outputs. Errors unwind through every call that is open, so this needs no code.
#include "core/assert.h"
#include "core/expr_internal.h"

enum flow {
    FLOW_BACK,  // the next output, please
    FLOW_STOP,  // the first output of the program is there, or a limit was hit
    FLOW_ERROR, // unwinds to the nearest (...)?
};

struct run {
    struct arena *arena;
    struct err_text *text;
    struct slice out;
    size_t arena_max; // bytes
    enum ka_err err;
};

// What happens to each output. Lives on the stack of the one who asked for outputs.
struct next {
    enum flow (*call)(struct run *run, struct next *next, struct slice value);
};

static enum flow eval(struct run *run, const struct node *node, struct slice input,
                      struct next *next);

static enum flow too_large(struct run *run, int limit)
{
    run->err = err_set(run->text, KA_ERR_TOO_LARGE, "the result needs over %d bytes", limit);
    return FLOW_STOP;
}

static enum flow give(struct run *run, struct next *next, struct slice value)
{
    if (run->arena->allocated > run->arena_max)
        return too_large(run, EXPR_WORK_MAX);
    return next->call(run, next, value);
}

static enum flow give_bool(struct run *run, struct next *next, bool value)
{
    return give(run, next, value ? SLICE_LIT("true") : SLICE_LIT("false"));
}

static enum flow raise_error(struct run *run, enum ka_err err)
{
    run->err = err;
    return FLOW_ERROR;
}

static enum flow eval_field(struct run *run, const struct node *node, struct slice input,
                            struct next *next)
{
    enum json_type type = json_type(input);
    struct slice value = SLICE_NONE;
    if (type == JSON_OBJECT)
        value = json_member(input, node->text);
    else if (type != JSON_NULL && node->optional)
        return FLOW_BACK;
    else if (type != JSON_NULL)
        return raise_error(run, err_set(run->text, KA_ERR_EXPR, "cannot index %s with \"%.*s\"",
                                        value_type_name(input), SLICE_FMT(node->text)));
    return give(run, next, slice_none(value) ? SLICE_LIT("null") : value);
}

static enum flow eval_index(struct run *run, const struct node *node, struct slice input,
                            struct next *next)
{
    enum json_type type = json_type(input);
    struct slice value = SLICE_NONE;
    if (type == JSON_ARRAY)
        value = json_element(input, node->index);
    else if (type != JSON_NULL && node->optional)
        return FLOW_BACK;
    else if (type != JSON_NULL)
        return raise_error(run, err_set(run->text, KA_ERR_EXPR, "cannot index %s with a number",
                                        value_type_name(input)));
    return give(run, next, slice_none(value) ? SLICE_LIT("null") : value);
}

static enum flow eval_each(struct run *run, const struct node *node, struct slice input,
                           struct next *next)
{
    enum flow flow = FLOW_BACK;
    enum json_type type = json_type(input);
    if (type == JSON_ARRAY) {
        struct json_walk walk = json_walk(input);
        struct slice name;
        struct slice value;
        while (flow == FLOW_BACK && json_next(&walk, &name, &value))
            flow = give(run, next, value);
    } else if (type == JSON_OBJECT) {
        size_t count;
        struct member *members = value_members(input, false, run->arena, &count);
        for (size_t i = 0; flow == FLOW_BACK && i < count; i++)
            flow = give(run, next, members[i].value);
    } else if (!node->optional) {
        flow = raise_error(
            run, err_set(run->text, KA_ERR_EXPR, "cannot iterate over %s", value_type_name(input)));
    }
    return flow;
}

struct pipe_next {
    struct next next;
    const struct node *node;
    struct next *outer;
};

static enum flow pipe_call(struct run *run, struct next *next, struct slice value)
{
    struct pipe_next *pipe = (struct pipe_next *)next;
    return eval(run, pipe->node, value, pipe->outer);
}

static enum flow eval_pipe(struct run *run, const struct node *node, struct slice input,
                           struct next *next)
{
    struct pipe_next pipe = {{pipe_call}, node->right, next};
    return eval(run, node->left, input, &pipe.next);
}

static enum flow eval_comma(struct run *run, const struct node *node, struct slice input,
                            struct next *next)
{
    enum flow flow = eval(run, node->left, input, next);
    return flow == FLOW_BACK ? eval(run, node->right, input, next) : flow;
}

static enum flow eval_try(struct run *run, const struct node *node, struct slice input,
                          struct next *next)
{
    enum flow flow = eval(run, node->left, input, next);
    return flow == FLOW_ERROR ? FLOW_BACK : flow;
}

struct alternative_next {
    struct next next;
    struct next *outer;
    bool found;
};

static enum flow alternative_call(struct run *run, struct next *next, struct slice value)
{
    struct alternative_next *alternative = (struct alternative_next *)next;
    if (!expr_true(value))
        return FLOW_BACK;
    alternative->found = true;
    return give(run, alternative->outer, value);
}

static enum flow eval_alternative(struct run *run, const struct node *node, struct slice input,
                                  struct next *next)
{
    struct alternative_next alternative = {{alternative_call}, next, false};
    enum flow flow = eval(run, node->left, input, &alternative.next);
    if (flow != FLOW_BACK || alternative.found)
        return flow;
    return eval(run, node->right, input, next);
}

// For `and`, `or` and comparisons: what the second operand needs to know of the first.
struct operand_next {
    struct next next;
    const struct node *node;
    struct slice input;
    struct slice first;
    struct next *outer;
};

static enum flow truth_call(struct run *run, struct next *next, struct slice value)
{
    struct operand_next *operand = (struct operand_next *)next;
    return give_bool(run, operand->outer, expr_true(value));
}

static enum flow logic_call(struct run *run, struct next *next, struct slice value)
{
    struct operand_next *operand = (struct operand_next *)next;
    bool decides = operand->node->type == NODE_OR;
    if (expr_true(value) == decides)
        return give_bool(run, operand->outer, decides);
    struct operand_next right = {.next = {truth_call}, .outer = operand->outer};
    return eval(run, operand->node->right, operand->input, &right.next);
}

static bool holds(enum compare compare, int order)
{
    switch (compare) {
    case COMPARE_EQ:
        return order == 0;
    case COMPARE_NE:
        return order != 0;
    case COMPARE_LT:
        return order < 0;
    case COMPARE_LE:
        return order <= 0;
    case COMPARE_GT:
        return order > 0;
    case COMPARE_GE:
        return order >= 0;
    }
    return false;
}

static enum flow left_call(struct run *run, struct next *next, struct slice value)
{
    struct operand_next *operand = (struct operand_next *)next;
    int order = value_compare(value, operand->first, run->arena);
    return give_bool(run, operand->outer, holds(operand->node->compare, order));
}

static enum flow right_call(struct run *run, struct next *next, struct slice value)
{
    struct operand_next *operand = (struct operand_next *)next;
    struct operand_next left = *operand;
    left.next.call = left_call;
    left.first = value;
    return eval(run, operand->node->left, operand->input, &left.next);
}

static enum flow eval_operands(struct run *run, const struct node *node, struct slice input,
                               struct next *next)
{
    struct operand_next operand = {.node = node, .input = input, .outer = next};
    if (node->type == NODE_COMPARE) { // jq evaluates the right side first
        operand.next.call = right_call;
        return eval(run, node->right, input, &operand.next);
    }
    operand.next.call = logic_call;
    return eval(run, node->left, input, &operand.next);
}

// The room for a result of `len` bytes; NULL and a stop when it is over the limit.
static char *result_room(struct run *run, size_t len)
{
    if (len <= EXPR_OUTPUT_MAX)
        return arena_alloc(run->arena, len);
    run->err =
        err_set(run->text, KA_ERR_TOO_LARGE, "the result is over %d bytes", (int)EXPR_OUTPUT_MAX);
    return NULL;
}

struct array_next {
    struct next next;
    struct slice *items;
    size_t count;
    size_t cap;
    size_t bytes;
};

static enum flow array_call(struct run *run, struct next *next, struct slice value)
{
    struct array_next *array = (struct array_next *)next;
    if (array->count == array->cap) {
        size_t cap = array->cap == 0 ? 8 : array->cap * 2;
        struct slice *grown = arena_alloc(run->arena, cap * sizeof *grown);
        if (array->count > 0)
            memcpy(grown, array->items, array->count * sizeof *grown);
        array->items = grown;
        array->cap = cap;
    }
    array->items[array->count++] = value;
    array->bytes += value.len + 1;
    return array->bytes <= EXPR_OUTPUT_MAX ? FLOW_BACK : too_large(run, EXPR_OUTPUT_MAX);
}

static enum flow eval_array(struct run *run, const struct node *node, struct slice input,
                            struct next *next)
{
    struct array_next array = {.next = {array_call}, .bytes = 1};
    enum flow flow = node->left == NULL ? FLOW_BACK : eval(run, node->left, input, &array.next);
    if (flow != FLOW_BACK)
        return flow;
    char *out = result_room(run, array.bytes + 1);
    if (out == NULL)
        return FLOW_STOP;
    size_t len = 0;
    for (size_t i = 0; i < array.count; i++) {
        out[len++] = i == 0 ? '[' : ',';
        memcpy(out + len, array.items[i].ptr, array.items[i].len);
        len += array.items[i].len;
    }
    if (array.count == 0)
        out[len++] = '[';
    out[len++] = ']';
    return give(run, next, slice_of(out, len));
}

struct object_next {
    struct next next;
    const struct node *first;
    const struct node *pair; // whose value is being made
    struct slice *values;    // by slot
    struct slice input;
    struct next *outer;
};

static size_t object_size(const struct object_next *object)
{
    size_t len = 2;
    size_t place = 0;
    for (const struct node *pair = object->first; pair != NULL; pair = pair->right, place++)
        if (pair->index == (int64_t)place)
            len += pair->text.len + object->values[place].len + 4;
    return len;
}

static enum flow give_object(struct run *run, const struct object_next *object)
{
    char *out = result_room(run, object_size(object));
    if (out == NULL)
        return FLOW_STOP;
    size_t len = 0;
    size_t place = 0;
    out[len++] = '{';
    for (const struct node *pair = object->first; pair != NULL; pair = pair->right, place++) {
        struct slice value = object->values[place];
        if (pair->index != (int64_t)place)
            continue;
        if (place > 0)
            out[len++] = ',';
        out[len++] = '"';
        if (pair->text.len > 0)
            memcpy(out + len, pair->text.ptr, pair->text.len);
        len += pair->text.len;
        out[len++] = '"';
        out[len++] = ':';
        memcpy(out + len, value.ptr, value.len);
        len += value.len;
    }
    out[len++] = '}';
    return give(run, object->outer, slice_of(out, len));
}

static enum flow eval_pairs(struct run *run, struct object_next *object);

static enum flow object_call(struct run *run, struct next *next, struct slice value)
{
    struct object_next *object = (struct object_next *)next;
    struct object_next rest = *object;
    object->values[object->pair->index] = value;
    rest.pair = object->pair->right;
    return eval_pairs(run, &rest);
}

static enum flow eval_pairs(struct run *run, struct object_next *object)
{
    if (object->pair == NULL)
        return give_object(run, object);
    return eval(run, object->pair->left, object->input, &object->next);
}

static enum flow eval_object(struct run *run, const struct node *node, struct slice input,
                             struct next *next)
{
    struct object_next object = {.next = {object_call},
                                 .first = node->left,
                                 .pair = node->left,
                                 .input = input,
                                 .outer = next};
    object.values = arena_alloc(run->arena, (size_t)node->index * sizeof *object.values);
    return eval_pairs(run, &object);
}

static enum flow eval_length(struct run *run, struct slice input, struct next *next)
{
    struct slice length;
    if (value_length(input, run->arena, &length))
        return give(run, next, length);
    return raise_error(run,
                       err_set(run->text, KA_ERR_EXPR, "%s has no length", value_type_name(input)));
}

static enum flow eval(struct run *run, const struct node *node, struct slice input,
                      struct next *next)
{
    switch (node->type) {
    case NODE_DOT:
        return give(run, next, input);
    case NODE_LITERAL:
        return give(run, next, node->text);
    case NODE_FIELD:
        return eval_field(run, node, input, next);
    case NODE_INDEX:
        return eval_index(run, node, input, next);
    case NODE_EACH:
        return eval_each(run, node, input, next);
    case NODE_PIPE:
        return eval_pipe(run, node, input, next);
    case NODE_COMMA:
        return eval_comma(run, node, input, next);
    case NODE_TRY:
        return eval_try(run, node, input, next);
    case NODE_ALTERNATIVE:
        return eval_alternative(run, node, input, next);
    case NODE_AND:
    case NODE_OR:
    case NODE_COMPARE:
        return eval_operands(run, node, input, next);
    case NODE_ARRAY:
        return eval_array(run, node, input, next);
    case NODE_OBJECT:
        return eval_object(run, node, input, next);
    case NODE_NOT:
        return give_bool(run, next, !expr_true(input));
    case NODE_LENGTH:
        return eval_length(run, input, next);
    case NODE_TOSTRING:
        return give(run, next, value_tostring(input, run->arena));
    case NODE_EMPTY:
        return FLOW_BACK;
    case NODE_PAIR:
        break;
    }
    KA_ASSERT(node->type != NODE_PAIR); // stands in objects only
    return FLOW_BACK;
}

static enum flow first_call(struct run *run, struct next *next, struct slice value)
{
    (void)next;
    run->out = value;
    return FLOW_STOP;
}

enum ka_err expr_run(const struct node *root, struct slice input, struct arena *arena,
                     struct slice *out, struct err_text *text)
{
    struct run run = {.arena = arena, .text = text, .out = SLICE_NONE};
    run.arena_max = arena->allocated + EXPR_WORK_MAX;
    struct next first = {first_call};
    enum flow flow = eval(&run, root, input, &first);
    *out = SLICE_NONE;
    if (flow == FLOW_BACK)
        return KA_OK;
    if (flow == FLOW_STOP && !slice_none(run.out)) {
        *out = run.out;
        return KA_OK;
    }
    KA_ASSERT(run.err != KA_OK);
    return run.err;
}
