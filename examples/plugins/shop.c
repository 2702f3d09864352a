// SPDX-License-Identifier: Apache-2.0
// The actions of the order example. Pure functions of their input and their idempotency key, so
// they may run inline and a replay gives the same bytes: reservation, payment and parcel numbers
// are a hash of the key. Not a real shop: it has no stock, no bank, and keeps no record of closed
// keys, as a participant with a memory must.
//
// Options of every action:
//   fail_every = 10   refuses each order whose number (the digits at the end of order_id, else a
//                     hash of it) is a multiple of 10
//   sleep_ms = 50     takes its time; pooled only
// Faults from the input, by the last part of the action's name:
//   {"fail": "charge"}         refused in every attempt
//   {"retry": {"charge": 2}}   asks for another attempt in attempts 1 and 2
//   {"unknown": {"book": 1}}   no answer in attempt 1
#include "kasaga/action.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { OPTION_FAIL_EVERY, OPTION_SLEEP_MS, OPTION_COUNT };

static const struct kasaga_option options[OPTION_COUNT] = {
    {"fail_every", KASAGA_INTEGER, 0, "0", 0, 1000000000,
     "refuses each order whose number is a multiple of this; 0 = none"},
    {"sleep_ms", KASAGA_INTEGER, 0, "0", 0, 3600000,
     "milliseconds that a call takes; not for inline actions"},
};

struct shop {
    int64_t fail_every;
    int64_t sleep_ms;
};

// FNV-1a, 64 bit.
static uint64_t hash(struct kasaga_bytes bytes)
{
    uint64_t value = 14695981039346656037u;
    for (size_t i = 0; i < bytes.len; i++)
        value = (value ^ (unsigned char)bytes.ptr[i]) * 1099511628211u;
    return value;
}

static uint64_t order_number(struct kasaga_bytes order_id)
{
    uint64_t number = 0;
    size_t digits = order_id.len;
    while (digits > 0 && order_id.ptr[digits - 1] >= '0' && order_id.ptr[digits - 1] <= '9')
        digits--;
    if (digits == order_id.len || order_id.len - digits > 18)
        return hash(order_id);
    for (size_t i = digits; i < order_id.len; i++)
        number = number * 10 + (uint64_t)(order_id.ptr[i] - '0');
    return number;
}

// Whether the input asks for a fault of this kind in this attempt: a name, or {name: attempts}.
static int asks_for(struct kasaga_call *call, const char *fault, const char *what)
{
    int64_t attempts = 0;
    struct kasaga_bytes value = kasaga_input(call, fault);
    if (value.ptr == NULL)
        return 0;
    if (kasaga_equal(call->host->text(call, value), what))
        return 1;
    if (value.ptr[0] != '{' || !call->host->integer(call->host->member(value, what), &attempts))
        return 0;
    return call->attempt <= attempts;
}

static void take_time(struct kasaga_call *call, int64_t ms)
{
    for (; ms > 0 && !call->host->cancelled(call); ms -= 10) {
        struct timespec pause = {0, (ms < 10 ? ms : 10) * 1000000};
        nanosleep(&pause, NULL);
    }
}

static enum kasaga_outcome faults(const struct shop *shop, struct kasaga_call *call,
                                  const char *what)
{
    struct kasaga_bytes order_id = kasaga_input_text(call, "order_id");
    take_time(call, shop->sleep_ms);
    if (asks_for(call, "unknown", what))
        return kasaga_unknown(call, "no_answer", "no answer, as the input asked for");
    if (asks_for(call, "retry", what))
        return kasaga_retry(call, 0, "busy", "busy, as the input asked for");
    if (asks_for(call, "fail", what))
        return kasaga_fail(call, "refused", "refused, as the input asked for");
    if (shop->fail_every > 0 && order_id.ptr != NULL &&
        order_number(order_id) % (uint64_t)shop->fail_every == 0)
        return kasaga_fail(call, "refused", "refused by fail_every");
    return KASAGA_OK;
}

// {"<member>": "<prefix>-<16 hex digits of the idempotency key>"}
static enum kasaga_outcome give_number(struct kasaga_call *call, const char *member,
                                       const char *prefix)
{
    return kasaga_ok_format(call, "{\"%s\":\"%s-%016" PRIx64 "\"}", member, prefix,
                            hash(call->idempotency_key));
}

static enum kasaga_outcome validate_order(void *instance, struct kasaga_call *call)
{
    double total = 0;
    int64_t quantity = 1;
    enum kasaga_outcome outcome = faults(instance, call, "validate");
    if (outcome != KASAGA_OK)
        return outcome;
    if (kasaga_input_text(call, "order_id").len == 0)
        return kasaga_fail(call, "invalid_order", "order_id: a text is missing");
    if (!kasaga_input_number(call, "total", &total) || !(total > 0))
        return kasaga_fail(call, "invalid_order", "total: not a number over 0");
    if (kasaga_input(call, "quantity").ptr != NULL &&
        (!kasaga_input_integer(call, "quantity", &quantity) || quantity < 1))
        return kasaga_fail(call, "invalid_order", "quantity: not an integer of at least 1");
    return kasaga_ok(call, "{\"valid\":true}");
}

static enum kasaga_outcome reserve(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "reserve");
    return outcome == KASAGA_OK ? give_number(call, "reservation", "res") : outcome;
}

static enum kasaga_outcome release(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "release");
    return outcome == KASAGA_OK ? kasaga_ok(call, "{\"released\":true}") : outcome;
}

static enum kasaga_outcome charge(void *instance, struct kasaga_call *call)
{
    double amount = 0;
    enum kasaga_outcome outcome = faults(instance, call, "charge");
    if (outcome != KASAGA_OK)
        return outcome;
    if (!kasaga_input_number(call, "amount", &amount) &&
        !kasaga_input_number(call, "total", &amount))
        return kasaga_fail(call, "no_amount", "neither amount nor total is a number");
    return give_number(call, "payment", "pay");
}

static enum kasaga_outcome refund(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "refund");
    return outcome == KASAGA_OK ? give_number(call, "refund", "ref") : outcome;
}

static enum kasaga_outcome book(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "book");
    return outcome == KASAGA_OK ? give_number(call, "parcel", "par") : outcome;
}

static enum kasaga_outcome cancel(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "cancel");
    return outcome == KASAGA_OK ? kasaga_ok(call, "{\"cancelled\":true}") : outcome;
}

static enum kasaga_outcome notify(void *instance, struct kasaga_call *call)
{
    enum kasaga_outcome outcome = faults(instance, call, "notify");
    return outcome == KASAGA_OK ? kasaga_ok(call, "{\"notified\":true}") : outcome;
}

static int validate(const struct kasaga_options *given, char *error, size_t error_size)
{
    if (!given->run_inline || given->values[OPTION_SLEEP_MS].integer == 0)
        return 0;
    snprintf(error, error_size, "sleep_ms: an inline action must not sleep");
    return -1;
}

static int init(const struct kasaga_options *given, void **instance, char *error, size_t error_size)
{
    struct shop *shop = malloc(sizeof *shop);
    if (shop == NULL) {
        snprintf(error, error_size, "no memory");
        return -1;
    }
    shop->fail_every = given->values[OPTION_FAIL_EVERY].integer;
    shop->sleep_ms = given->values[OPTION_SLEEP_MS].integer;
    *instance = shop;
    return 0;
}

static void fini(void *instance)
{
    free(instance);
}

#define ACTION(action_name, run_function, undo_name, text)                                         \
    {                                                                                              \
        .struct_size = sizeof(struct kasaga_action),                                               \
        .flags = KASAGA_ACTION_INLINE | KASAGA_ACTION_SHARED, .name = (action_name),               \
        .version = "1.0.0", .description = (text), .category = "shop", .undo = (undo_name),        \
        .options = options, .option_count = OPTION_COUNT, .validate = validate, .init = init,      \
        .run = (run_function), .fini = fini                                                        \
    }

static const struct kasaga_action actions[] = {
    ACTION("order.validate", validate_order, NULL, "checks order_id, total and quantity"),
    ACTION("stock.reserve", reserve, "stock.release", "reserves the goods: {reservation}"),
    ACTION("stock.release", release, NULL, "gives a reservation back: {released}"),
    ACTION("payment.charge", charge, "payment.refund", "charges amount or total: {payment}"),
    ACTION("payment.refund", refund, NULL, "pays back: {refund}"),
    ACTION("parcel.book", book, "parcel.cancel", "books a parcel: {parcel}"),
    ACTION("parcel.cancel", cancel, NULL, "cancels a parcel: {cancelled}"),
    ACTION("customer.notify", notify, NULL, "tells the customer: {notified}"),
};

static const struct kasaga_plugin_info info = {
    .struct_size = sizeof(struct kasaga_plugin_info),
    .abi = KASAGA_ABI,
    .name = "shop",
    .version = "1.0.0",
    .description = "the actions of the order example",
    .actions = actions,
    .action_count = sizeof actions / sizeof actions[0],
};

const struct kasaga_plugin_info *kasaga_plugin(void)
{
    return &info;
}
