/*
 * The parts of the plug-in: library.c runs an instance of libslirp in virtual time,
 * wire.c is the cable and the guest's link layer, segments.c changes what passes on it,
 * sockets.c and plugin.c are the calls of a script.
 */
#ifndef RIG_H
#define RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MICROSECOND = 1000,
    MILLISECOND = 1000 * 1000,
    FRAME_MAX = 65536,
    /* The host's end of a forward listens here, counted from the script's port, so that it meets no listener. */
    FORWARD_OFFSET = 20000
};

/* One connection, as seen on the wire. Ports are in host byte order. */
struct wire_connection {
    bool used;
    /* The guest sent the first SYN. */
    bool from_guest;
    /* The first acknowledgment of the handshake has passed. */
    bool established;
    bool accepted;
    /* A reset has passed. */
    bool reset_by_guest, reset_by_library;
    int family;
    uint8_t guest[16];
    uint16_t guest_port, host_port;
};

/* A call of a script that waits. The thread that moves the clock attempts it, so that it ends at its time exactly. */
struct waiting {
    /* Returns whether the call is over; it has then set the result and errno. */
    bool (*attempt)(struct waiting *call);
    /* Virtual time at which the call is over in any case, after one last attempt; negative for never. */
    int64_t deadline;
    void *arguments;
    long result;
    int error;
    bool over;
    int64_t over_at;
};

/* One big lock: packetdrill calls from two threads, a library instance is for one at a time. */
extern pthread_mutex_t rig_lock;
/* A moment of virtual time, in nanoseconds. */
extern int64_t rig_now;

/* The largest packet on the cable, and whether segments are to look like those of Linux (see segments.c). */
extern size_t rig_mtu;
extern bool rig_relaxed;

/* library.c */
void library_open(void);
void library_close(void);
/* Forwards a port of the host's loopback to the guest's `port`, once. 0, or -1 with errno. */
int library_forward(int family, uint16_t port);
void library_input(const void *frame, size_t len);
/* Lets the library do all it has to do at this moment. */
void library_settle(void);
/* Moves the clock to `target`, or only until a packet has come out. */
void library_advance(int64_t target, bool until_packet);
/* Runs a call to its end. The main thread moves the clock for it; any other waits for the main thread to do so. */
long library_wait(struct waiting *call);

/* wire.c */
void wire_open(void);
void wire_close(void);
/* A frame of the library. */
void wire_frame(const uint8_t *frame, size_t len);
/* Hands over what the guest's link layer answered. Whether there was something. */
bool wire_answer(void);
int wire_send(const uint8_t *packet, size_t len);
bool wire_waiting(void);
size_t wire_take(uint8_t *packet, size_t room, int64_t *at);
/* The oldest connection of the guest to this port whose handshake is over and that was not accepted; or NULL. */
struct wire_connection *wire_pending(uint16_t host_port);
/* The newest connection to the guest from this port of the host; or NULL. */
struct wire_connection *wire_outgoing(uint16_t host_port);

/* segments.c */
/* Gives a packet to `take`, in parts if it is TCP over IPv6 and longer than the MTU. */
void segments_split(const uint8_t *packet, size_t len, size_t mtu, void (*take)(const uint8_t *, size_t));
/* Orders the options of a SYN as Linux does, and marks all data with PSH, as RFC 9293 leaves both open. The new length. */
size_t segments_relax(uint8_t *packet, size_t len);

/* Says why the rest of the script has no meaning here. The runner counts such a script apart. */
void not_applicable(const char *reason, ...) __attribute__((format(printf, 1, 2)));

#endif
