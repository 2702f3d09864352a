// SPDX-License-Identifier: Apache-2.0
// kproxy: a TCP proxy between Kafka clients and brokers that knows where a request begins and ends,
// so that a test can do to one kind of request of one client what a network does to bytes.
//
//   kproxy CONTROL_PORT LISTEN_PORT=HOST:PORT...     (tools/kafka proxy prints the pairs)
//
// One line on the control port is one command; it is answered by lines, the last of which begins
// with "ok" or "error":
//   ACTION API [client=PREFIX] [skip=N] [times=N] [ms=N]   a rule; "ok ID"
//     hold     the request waits for `release`, and what follows on its connection with it; when
//              the client has gone meanwhile it is delivered all the same
//     delay    the same for ms
//     drop     the request vanishes
//     dup      the request is delivered twice; the second response vanishes
//     swallow  the request is delivered, its response vanishes
//     late     its response comes ms later
//     cut      the connection is closed instead of delivering the request
//     lose     the request is delivered, the connection closed instead of its response
//   release [PREFIX] | clear [PREFIX]   held requests go on | there are no rules any more
//   hits ID | held [PREFIX]  requests that met the rule | requests held back now
//   freeze PREFIX | thaw PREFIX   the client's bytes stop in both directions, none are lost
//   reset PREFIX             its connections are closed; what is held is delivered later all the
//   same counts                   requests seen, by API
// API is a name of `apis` below, or * for all. PREFIX is of the client.id.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ROUTES_MAX = 9, // brokers of a test cluster
    LINKS_MAX = 1024,
    RULES_MAX = 64,
    FROZEN_MAX = 16,
    API_MAX = 100,
    ANY_API = -1,
    NAME_MAX_ = 64,
    CHUNK = 65536,
    FRAME_MAX = 110 * 1024 * 1024, // socket.request.max.bytes is 100 MiB
    LINGER_MS = 2000               // a broker answers what a client left behind; nobody listens
};

enum action { HOLD, DELAY, DROP, DUP, SWALLOW, LATE, CUT, LOSE, PASS };
static const char *const action_names[] = {"hold",    "delay", "drop", "dup",
                                           "swallow", "late",  "cut",  "lose"};

static const struct {
    const char *name;
    int key;
} apis[] = {
    {"*", ANY_API},
    {"Produce", 0},
    {"Fetch", 1},
    {"ListOffsets", 2},
    {"Metadata", 3},
    {"OffsetCommit", 8},
    {"OffsetFetch", 9},
    {"FindCoordinator", 10},
    {"JoinGroup", 11},
    {"Heartbeat", 12},
    {"LeaveGroup", 13},
    {"SyncGroup", 14},
    {"DescribeGroups", 15},
    {"ListGroups", 16},
    {"ApiVersions", 18},
    {"CreateTopics", 19},
    {"DeleteTopics", 20},
    {"DeleteRecords", 21},
    {"InitProducerId", 22},
    {"AddPartitionsToTxn", 24},
    {"AddOffsetsToTxn", 25},
    {"EndTxn", 26},
    {"TxnOffsetCommit", 28},
    {"DescribeConfigs", 32},
};
enum { API_COUNT = sizeof apis / sizeof apis[0] };

struct rule {
    enum action action;
    int api;
    char client[NAME_MAX_];
    long skip;
    long times; // left; < 0 = for ever
    long ms;
    long hits;
};

// Bytes of one request or response on their way out.
struct frame {
    struct frame *next;
    size_t len;
    size_t sent;
    int64_t at_ms; // not before; INT64_MAX = held
    unsigned char bytes[];
};

struct pipe {
    unsigned char *in; // of the frame that is being read
    size_t in_len;
    size_t in_cap;
    struct frame *head;
    struct frame *tail;
};

// What becomes of the response with this number.
struct fate {
    struct fate *next;
    int32_t correlation;
    enum action action;
    long ms;
    int pass; // responses with this number that come before it
};

struct link {
    int client; // -1 = gone
    int broker;
    char client_id[NAME_MAX_];
    bool named;
    struct pipe up;
    struct pipe down;
    struct fate *fates;
    int64_t close_ms; // the client has gone; 0 = it has not
};

static struct {
    int control;
    int listeners[ROUTES_MAX];
    struct sockaddr_in brokers[ROUTES_MAX];
    size_t routes;
    struct link *links[LINKS_MAX];
    size_t link_count;
    struct rule rules[RULES_MAX];
    size_t rule_count;
    char frozen[FROZEN_MAX][NAME_MAX_];
    size_t frozen_count;
    long counts[API_MAX];
    int64_t now_ms;
} proxy;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "kproxy: %s: %s\n", what, errno != 0 ? strerror(errno) : "wrong");
    exit(2);
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static int32_t int_at(const unsigned char *bytes, size_t size)
{
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return size == 2 ? (int16_t)value : (int32_t)value;
}

// ---- Frames

static void queue(struct pipe *pipe, const unsigned char *bytes, size_t len, int64_t at_ms)
{
    struct frame *frame = must(malloc(sizeof *frame + len));
    *frame = (struct frame){.len = len, .at_ms = at_ms};
    memcpy(frame->bytes, bytes, len);
    if (pipe->head == NULL)
        pipe->head = frame;
    else
        pipe->tail->next = frame;
    pipe->tail = frame;
}

static void pop(struct pipe *pipe)
{
    struct frame *frame = pipe->head;
    pipe->head = frame->next;
    free(frame);
}

static void add_fate(struct link *link, int32_t correlation, enum action action, long ms, int pass)
{
    struct fate *fate = must(malloc(sizeof *fate));
    *fate = (struct fate){link->fates, correlation, action, ms, pass};
    link->fates = fate;
}

static bool frozen(const struct link *link)
{
    for (size_t i = 0; link->named && i < proxy.frozen_count; i++)
        if (strncmp(link->client_id, proxy.frozen[i], strlen(proxy.frozen[i])) == 0)
            return true;
    return false;
}

static struct rule *find_rule(const struct link *link, int api)
{
    for (size_t i = 0; i < proxy.rule_count; i++) {
        struct rule *rule = &proxy.rules[i];
        if (rule->times == 0 || (rule->api != ANY_API && rule->api != api) ||
            strncmp(link->client_id, rule->client, strlen(rule->client)) != 0)
            continue;
        if (rule->skip-- > 0)
            continue;
        rule->skip = 0;
        rule->times -= rule->times > 0;
        rule->hits++;
        return rule;
    }
    return NULL;
}

static void close_link(struct link *link)
{
    if (link->client >= 0)
        close(link->client);
    if (link->broker >= 0)
        close(link->broker);
    link->client = link->broker = -1;
}

static void learn_name(struct link *link, const unsigned char *bytes, size_t len)
{
    int32_t size = len >= 14 ? int_at(bytes + 12, 2) : 0;
    if (link->named || size <= 0 || (size_t)size + 14 > len)
        return;
    size_t kept = (size_t)size < sizeof link->client_id ? (size_t)size : sizeof link->client_id - 1;
    memcpy(link->client_id, bytes + 14, kept);
    link->client_id[kept] = '\0';
    link->named = true;
}

// A request: length, key, version, correlation id, client id, … False = the connection is cut.
static bool on_request(struct link *link, const unsigned char *bytes, size_t len)
{
    int api = len >= 12 ? int_at(bytes + 4, 2) : 0;
    int32_t correlation = len >= 12 ? int_at(bytes + 8, 4) : 0;
    if (api >= 0 && api < API_MAX)
        proxy.counts[api]++;
    struct rule *rule = find_rule(link, api);
    switch (rule == NULL ? PASS : rule->action) {
    case HOLD:
        queue(&link->up, bytes, len, INT64_MAX);
        return true;
    case DELAY:
        queue(&link->up, bytes, len, proxy.now_ms + rule->ms);
        return true;
    case DROP:
        return true;
    case CUT:
        return false;
    case DUP:
        add_fate(link, correlation, SWALLOW, 0, 1);
        queue(&link->up, bytes, len, 0);
        break;
    case SWALLOW:
    case LATE:
    case LOSE:
        add_fate(link, correlation, rule->action, rule->ms, 0);
        break;
    case PASS:
        break;
    }
    queue(&link->up, bytes, len, 0);
    return true;
}

static bool on_response(struct link *link, const unsigned char *bytes, size_t len)
{
    int32_t correlation = len >= 8 ? int_at(bytes + 4, 4) : 0;
    for (struct fate **at = &link->fates; *at != NULL; at = &(*at)->next) {
        struct fate *fate = *at;
        if (fate->correlation != correlation || fate->pass-- > 0)
            continue;
        enum action action = fate->action;
        int64_t at_ms = proxy.now_ms + fate->ms;
        *at = fate->next;
        free(fate);
        if (action == LATE)
            queue(&link->down, bytes, len, at_ms);
        return action != LOSE;
    }
    queue(&link->down, bytes, len, 0);
    return true;
}

// ---- Bytes

// Reads what is there; the end or an error is false.
static bool fill(int fd, struct pipe *pipe)
{
    if (pipe->in_cap - pipe->in_len < CHUNK) {
        pipe->in_cap = pipe->in_cap * 2 + CHUNK;
        pipe->in = must(realloc(pipe->in, pipe->in_cap));
    }
    ssize_t got = read(fd, pipe->in + pipe->in_len, pipe->in_cap - pipe->in_len);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0)
        return false;
    pipe->in_len += (size_t)got;
    return true;
}

// Takes whole frames out of what was read. A client that turns out to be frozen keeps its bytes.
static bool cut_frames(struct link *link, struct pipe *pipe, bool request)
{
    size_t at = 0;
    bool ok = true;
    while (ok && pipe->in_len - at >= 4) {
        const unsigned char *bytes = pipe->in + at;
        size_t len = (size_t)(uint32_t)int_at(bytes, 4) + 4;
        if (len > FRAME_MAX)
            return false;
        if (pipe->in_len - at < len)
            break;
        if (request)
            learn_name(link, bytes, len);
        if (frozen(link))
            break;
        ok = request ? on_request(link, bytes, len) : on_response(link, bytes, len);
        at += len;
    }
    memmove(pipe->in, pipe->in + at, pipe->in_len - at);
    pipe->in_len -= at;
    return ok;
}

static bool drain(int fd, struct pipe *pipe)
{
    while (pipe->head != NULL && pipe->head->at_ms <= proxy.now_ms) {
        struct frame *frame = pipe->head;
        ssize_t put = send(fd, frame->bytes + frame->sent, frame->len - frame->sent, MSG_NOSIGNAL);
        if (put < 0)
            return errno == EAGAIN || errno == EINTR;
        frame->sent += (size_t)put;
        if (frame->sent < frame->len)
            return true;
        pop(pipe);
    }
    return true;
}

static void free_pipe(struct pipe *pipe)
{
    while (pipe->head != NULL)
        pop(pipe);
    free(pipe->in);
}

static void free_link(struct link *link)
{
    close_link(link);
    free_pipe(&link->up);
    free_pipe(&link->down);
    while (link->fates != NULL) {
        struct fate *fate = link->fates;
        link->fates = fate->next;
        free(fate);
    }
    free(link);
}

// The client has gone; what it sent is still on its way.
static void orphan(struct link *link)
{
    close(link->client);
    link->client = -1;
    link->close_ms = proxy.now_ms + LINGER_MS;
}

static void serve(struct link *link, short client_events, short broker_events)
{
    const short readable = POLLIN | POLLHUP | POLLERR;
    if (link->client >= 0 && (client_events & readable) != 0 && !fill(link->client, &link->up)) {
        cut_frames(link, &link->up, true);
        orphan(link);
    }
    if (!cut_frames(link, &link->up, true)) {
        close_link(link);
        return;
    }
    if ((broker_events & readable) != 0 && !fill(link->broker, &link->down)) {
        close_link(link);
        return;
    }
    if (!cut_frames(link, &link->down, false)) {
        close_link(link);
        return;
    }
    if (!drain(link->broker, &link->up)) {
        close_link(link);
        return;
    }
    if (link->client < 0) {
        while (link->down.head != NULL) // nobody listens any more
            pop(&link->down);
        if (link->up.head != NULL)
            link->close_ms = proxy.now_ms + LINGER_MS;
        if (proxy.now_ms >= link->close_ms)
            close_link(link);
    } else if (!drain(link->client, &link->down)) {
        orphan(link);
    }
}

static int listen_at(int port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 128) != 0)
        die("listen");
    return fd;
}

static void set_up(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// A client that comes while its broker is down is let go at once, as by the broker's machine.
static void take_client(size_t route)
{
    int client = accept4(proxy.listeners[route], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *to = (const struct sockaddr *)&proxy.brokers[route];
    if (broker < 0 || proxy.link_count == LINKS_MAX ||
        connect(broker, to, sizeof proxy.brokers[route]) != 0) {
        close(client);
        if (broker >= 0)
            close(broker);
        return;
    }
    set_up(client);
    set_up(broker);
    fcntl(broker, F_SETFL, O_NONBLOCK);
    struct link *link = must(calloc(1, sizeof *link));
    link->client = client;
    link->broker = broker;
    proxy.links[proxy.link_count++] = link;
}

// ---- Commands

static int api_of(const char *name)
{
    for (size_t i = 0; i < API_COUNT; i++)
        if (strcmp(apis[i].name, name) == 0)
            return apis[i].key;
    return API_MAX;
}

static void add_rule(FILE *out, enum action action, char *words)
{
    struct rule rule = {.action = action, .times = 1, .api = API_MAX};
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (strncmp(word, "client=", 7) == 0)
            snprintf(rule.client, sizeof rule.client, "%s", word + 7);
        else if (strncmp(word, "skip=", 5) == 0)
            rule.skip = atol(word + 5);
        else if (strncmp(word, "times=", 6) == 0)
            rule.times = atol(word + 6);
        else if (strncmp(word, "ms=", 3) == 0)
            rule.ms = atol(word + 3);
        else
            rule.api = api_of(word);
    }
    if (rule.api == API_MAX || proxy.rule_count == RULES_MAX) {
        fprintf(out, "error no such API, or too many rules\n");
        return;
    }
    proxy.rules[proxy.rule_count] = rule;
    fprintf(out, "ok %zu\n", proxy.rule_count++);
}

static long held(const char *prefix, bool release)
{
    long count = 0;
    for (size_t i = 0; i < proxy.link_count; i++) {
        if (strncmp(proxy.links[i]->client_id, prefix, strlen(prefix)) != 0)
            continue;
        for (struct frame *f = proxy.links[i]->up.head; f != NULL; f = f->next) {
            count += f->at_ms == INT64_MAX;
            if (release && f->at_ms == INT64_MAX)
                f->at_ms = 0;
        }
    }
    return count;
}

static void set_frozen(const char *prefix, bool on)
{
    for (size_t i = 0; i < proxy.frozen_count; i++)
        if (strcmp(proxy.frozen[i], prefix) == 0)
            memcpy(proxy.frozen[i--], proxy.frozen[--proxy.frozen_count], NAME_MAX_);
    if (on && proxy.frozen_count < FROZEN_MAX)
        snprintf(proxy.frozen[proxy.frozen_count++], NAME_MAX_, "%s", prefix);
}

static long reset_links(const char *prefix)
{
    long count = 0;
    for (size_t i = 0; i < proxy.link_count; i++) {
        struct link *link = proxy.links[i];
        if (link->client < 0 || strncmp(link->client_id, prefix, strlen(prefix)) != 0)
            continue;
        if (link->up.head != NULL)
            orphan(link);
        else
            close_link(link);
        count++;
    }
    return count;
}

static void run_command(FILE *out, char *line)
{
    char *rest = strchr(line, ' ');
    rest = rest == NULL ? line + strlen(line) : rest;
    if (*rest != '\0')
        *rest++ = '\0';
    for (int i = 0; i < PASS; i++) {
        if (strcmp(line, action_names[i]) == 0) {
            add_rule(out, (enum action)i, rest);
            return;
        }
    }
    if (strcmp(line, "hits") == 0 && (size_t)atol(rest) < proxy.rule_count) {
        fprintf(out, "ok %ld\n", proxy.rules[atol(rest)].hits);
    } else if (strcmp(line, "held") == 0 || strcmp(line, "release") == 0) {
        fprintf(out, "ok %ld\n", held(rest, line[0] == 'r'));
    } else if (strcmp(line, "clear") == 0) {
        for (size_t i = 0; i < proxy.rule_count; i++)
            if (strncmp(proxy.rules[i].client, rest, strlen(rest)) == 0)
                proxy.rules[i].times = 0; // ids stay what they were
        fprintf(out, "ok\n");
    } else if (strcmp(line, "freeze") == 0 || strcmp(line, "thaw") == 0) {
        set_frozen(rest, line[0] == 'f');
        fprintf(out, "ok\n");
    } else if (strcmp(line, "reset") == 0) {
        fprintf(out, "ok %ld\n", reset_links(rest));
    } else if (strcmp(line, "counts") == 0) {
        for (size_t i = 1; i < API_COUNT; i++)
            fprintf(out, "%s %ld\n", apis[i].name, proxy.counts[apis[i].key]);
        fprintf(out, "ok\n");
    } else {
        fprintf(out, "error no such command\n");
    }
}

// One command per connection; the other side is a test script, so its line is there at once.
static void take_command(void)
{
    char line[512];
    int fd = accept4(proxy.control, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = recv(fd, line, sizeof line - 1, 0);
    FILE *out = must(fdopen(fd, "w"));
    line[got > 0 ? got : 0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    run_command(out, line);
    fclose(out);
}

// ---- The loop

static void wants(struct pollfd *fds, const struct link *link)
{
    bool stopped = frozen(link);
    fds[0] = (struct pollfd){.fd = stopped ? -1 : link->client, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = stopped ? -1 : link->broker, .events = POLLIN};
    if (link->up.head != NULL && link->up.head->at_ms <= proxy.now_ms)
        fds[1].events |= POLLOUT;
    if (link->down.head != NULL && link->down.head->at_ms <= proxy.now_ms)
        fds[0].events |= POLLOUT;
}

static int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void turn(struct pollfd *fds)
{
    size_t count = 0;
    size_t links = proxy.link_count;
    fds[count++] = (struct pollfd){.fd = proxy.control, .events = POLLIN};
    for (size_t i = 0; i < proxy.routes; i++)
        fds[count++] = (struct pollfd){.fd = proxy.listeners[i], .events = POLLIN};
    size_t first = count;
    for (size_t i = 0; i < links; i++, count += 2)
        wants(&fds[count], proxy.links[i]);
    if (poll(fds, count, 5) < 0 && errno != EINTR)
        die("poll");
    proxy.now_ms = clock_ms();
    for (size_t i = 0; i < links; i++)
        if (!frozen(proxy.links[i]))
            serve(proxy.links[i], fds[first + 2 * i].revents, fds[first + 2 * i + 1].revents);
    if (fds[0].revents != 0)
        take_command();
    for (size_t i = 0; i < proxy.routes; i++)
        if (fds[1 + i].revents != 0)
            take_client(i);
    for (size_t i = 0; i < proxy.link_count; i++) {
        if (proxy.links[i]->broker >= 0)
            continue;
        free_link(proxy.links[i]);
        proxy.links[i--] = proxy.links[--proxy.link_count];
    }
}

static void add_route(const char *text)
{
    int port;
    char host[64];
    int to;
    if (proxy.routes == ROUTES_MAX || sscanf(text, "%d=%63[^:]:%d", &port, host, &to) != 3)
        die(text);
    struct sockaddr_in *broker = &proxy.brokers[proxy.routes];
    *broker = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)to)};
    if (inet_pton(AF_INET, host, &broker->sin_addr) != 1)
        die(host);
    proxy.listeners[proxy.routes++] = listen_at(port);
}

int main(int argc, char **argv)
{
    static struct pollfd fds[1 + ROUTES_MAX + 2 * LINKS_MAX];
    if (argc < 3) {
        fprintf(stderr, "usage: kproxy CONTROL_PORT LISTEN_PORT=HOST:PORT...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    proxy.control = listen_at(atoi(argv[1]));
    for (int i = 2; i < argc; i++)
        add_route(argv[i]);
    for (;;)
        turn(fds);
}
