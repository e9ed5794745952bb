/*
 * One application that can take on the habits of every program known to load libslirp. `Habits` is what can be chosen,
 * `App` what it has at hand; rows.c lists the combinations. Each other file is one side of the application.
 */
#ifndef HABITS_H
#define HABITS_H

#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the application waits for descriptors. */
enum waits { POLLS, POLLS_IN_OUT, SELECTS, SELECTS_PRIORITY, WSA_POLLS };
/* What it returns from add_poll. */
enum index_kind { POSITION, DESCRIPTOR, HANDLE };
/* When it comes round. */
enum pace { SLEEPS, TICKS };
/* Where its frames come from and go to. */
enum link { TAP, SEQPACKET, PIPES, DATAGRAMS, QUEUED };
/* Who calls slirp_input. */
enum threads { ONE, MUTEX, UNLOCKED, REQUESTS };
/* What clock_get_ns tells. */
enum clock { MONOTONIC, REAL, JUMPS, PAUSES, SLOW, FAST, STOPPED, COARSE, ROUNDS };
/* What becomes of timers. */
enum timers { RUN, NO_TIMERS, IDS_FROM_ZERO, LATE, NEVER, OVERWRITES, KEEPS_FREED };
/* What is forbidden once slirp_new has returned. */
enum sandbox { NO_SANDBOX, KILLS, NO_FILES };

/* Members of SlirpCb, as bits. */
enum {
    SEND = 1,
    GUEST_ERROR = 2,
    CLOCK = 4,
    TIMER_NEW = 8,
    TIMER_FREE = 16,
    TIMER_MOD = 32,
    REGISTER_FD = 64,
    UNREGISTER_FD = 128,
    NOTIFY = 256,
    INIT_COMPLETED = 512,
    TIMER_NEW_OPAQUE = 1024,
    REGISTER_SOCKET = 2048,
    UNREGISTER_SOCKET = 4096,
    TIMERS = TIMER_NEW | TIMER_FREE | TIMER_MOD,
    CLASSIC = SEND | GUEST_ERROR | CLOCK | TIMERS | REGISTER_FD | UNREGISTER_FD | NOTIFY,
    OPAQUE_TIMERS = TIMER_NEW_OPAQUE | TIMER_FREE | TIMER_MOD,
    SOCKETS = REGISTER_SOCKET | UNREGISTER_SOCKET,
    ALL = CLASSIC | INIT_COMPLETED | TIMER_NEW_OPAQUE | SOCKETS
};

typedef struct {
    const char *name;
    /* For the table. */
    const char *text;
    /* The configuration, and what it comes with. */
    uint32_t version;
    unsigned callbacks;
    bool no_table, short_lived_tables, ipv4_only;
    /* 0 stands for 1500; whether if_mru says the same, or 0; and the length of the prefix, -1 for one of 0. */
    size_t mtu;
    bool no_mru;
    int prefix;
    /* Waiting. */
    enum waits waits;
    enum index_kind index;
    bool spurious;
    /* Places in the list for the library's descriptors, plus one; 0: as many as there are. */
    int places;
    /* Every registered descriptor is waited for as well, even when it was unregistered. */
    bool watches_registered;
    /* The loop. */
    enum pace pace;
    /* The longest sleep in milliseconds, 0 for no limit; and whether milliseconds are taken for microseconds. */
    uint32_t longest;
    bool microseconds;
    bool skips_on_timeout, error_on_timeout, error_after_frame, one_frame, fills_twice;
    bool forwards_between, wakes_on_notify;
    enum threads threads;
    /* Frames. */
    enum link link;
    size_t drops_over;
    unsigned loses_every;
    bool says_zero, reenters, mute_at_first;
    enum clock clock;
    enum timers timers;
    enum sandbox sandbox;
    /* No loop at all: slirp_new and slirp_cleanup. */
    bool only_new;
} Habits;

extern const Habits rows[];
extern const size_t rows_len;
/* Rows before this one are consumers, the others single habits. */
extern const size_t first_habit;

/* The library, loaded at run time: which one is the caller's choice. */
typedef struct {
    Slirp *(*new)(const SlirpConfig *, const SlirpCb *, void *);
    void (*cleanup)(Slirp *);
    void (*fill)(Slirp *, uint32_t *, SlirpAddPollCb, void *);
    void (*poll)(Slirp *, int, SlirpGetREventsCb, void *);
    void (*input)(Slirp *, const uint8_t *, int);
    void (*handle_timer)(Slirp *, SlirpTimerId, void *);
    int (*add_hostfwd)(Slirp *, int, struct in_addr, int, struct in_addr, int);
    int (*add_hostxfwd)(Slirp *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
    char *(*connection_info)(Slirp *);
    /* The newest configuration version that it knows. */
    uint32_t newest;
} Library;

typedef struct {
    int fd, events, seen, index;
    bool own, asked;
} Watched;

enum { MOST_WATCHED = 1024, MOST_DESCRIPTORS = 4096, MOST_TIMERS = 8, LONGEST_FRAME = 65536 + 64 };

typedef struct {
    bool used, armed, freed;
    int64_t expires;
    SlirpTimerCb callback;
    void *opaque;
    SlirpTimerId id;
} Timer;

typedef struct Frame {
    struct Frame *next;
    size_t len;
    uint8_t data[];
} Frame;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    Frame *first, **last;
} FrameQueue;

typedef struct {
    Habits habits;
    Library library;
    Slirp *slirp;
    /* Held around every call of the library, when there are two threads with a mutex. */
    pthread_mutex_t mutex;
    /* Waiting. */
    Watched watched[MOST_WATCHED];
    size_t watched_len;
    bool registered[MOST_DESCRIPTORS], ever_registered[MOST_DESCRIPTORS];
    int wake;
    /* Frames: the tap, where frames for the library come in, and where those of the library go. */
    int tap, inlet, outlet, pump_ends[2];
    FrameQueue outgoing, requests;
    unsigned sent, depth;
    Timer timers[MOST_TIMERS];
    _Atomic int64_t clock_offset;
    int64_t started;
    /* What the control thread asks for. */
    atomic_bool stop, add_forwards;
    bool forwarded;
    /* Where the application is, and what it counted. */
    atomic_bool in_new, in_send, in_timer, in_cleanup, cleaned, polled;
    atomic_uint rounds, frames_in, frames_out, late_callbacks;
    /* Milliseconds of CPU time. */
    _Atomic int64_t longest_call;
    pthread_t frame_thread;
    int forwards_len;
    struct {
        char kind;
        int host_port, guest_port;
    } forwards[8];
} App;

/* main.c: something that must not be, once each; and something that is reported only of our own library. */
void violation(const char *text, ...) __attribute__((format(printf, 1, 2)));
void remark(const char *text, ...) __attribute__((format(printf, 1, 2)));
void say(const char *text, ...) __attribute__((format(printf, 1, 2)));
void wake_up(App *app);

/* library.c */
void library_load(Library *library, const char *path);

/* instance.c */
void instance_new(App *app);
void instance_forward(App *app);
/* Every callback begins with this: whether the instance may still call. */
void callback_enters(App *app);

/* clock.c */
int64_t monotonic_ns(void);
int64_t thread_ns(void);
int64_t clock_ns(App *app);
/* The virtual machine is paused: its clock stands, and it takes and gives no frame. */
bool clock_paused(App *app);

/* timers.c */
Timer *timer_make(App *app, SlirpTimerCb callback, SlirpTimerId id, void *opaque);
void *timer_handle(App *app, Timer *timer);
void timer_arm(App *app, void *handle, int64_t expires);
void timer_drop(App *app, void *handle);
/* Runs what has expired; returns the milliseconds until the next one expires. */
uint32_t timers_run(App *app);
int timers_left(App *app);

/* watch.c */
void watch_clear(App *app);
void watch_own(App *app, int fd);
bool watch_own_ready(App *app, int fd);
int watch_add(int fd, int events, void *opaque);
int watch_seen(int index, void *opaque);
/* As poll(2): the number of descriptors with news, 0 when the time is over. */
int watch_wait(App *app, uint32_t milliseconds);

/* link.c */
void link_open(App *app, int guest);
slirp_ssize_t link_send(App *app, const void *data, size_t len);
/* The next frame of the guest into `frame`; 0 when there is none now. */
size_t link_receive(App *app, uint8_t *frame);
void queue_put(FrameQueue *queue, const void *data, size_t len);
Frame *queue_take(FrameQueue *queue, bool wait);

/* loop.c */
void loop_run(App *app);

/* sandbox.c */
void sandbox_enter(enum sandbox sandbox);

#endif
