/* The native anchor: TLS handshakes and nothing else, as fast as this machine's own OpenSSL does them from one epoll loop.
 *
 *     cc -O2 -o anchor anchor.c -lssl -lcrypto
 *     ./anchor PREFIX ADDRESSES PORT TARGETS CONCURRENCY       ./anchor 127.0.1. 32 4433 2000 200
 *
 * Target i is n<i>.h<i mod ADDRESSES>.bench.test at PREFIX<i mod ADDRESSES + 1>. For each: a socket, a connect that is not waited for, a
 * full handshake that verifies nothing, the served chain copied out as DER, a close_notify, a close. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

struct probe {
    int fd;
    SSL *tls;
    unsigned waits_for; /* the events that epoll was last told */
};

static SSL_CTX *context;
static const char *prefix;
static int loop, addresses, port;
static long good, bad;
static size_t der_bytes;

static void begin(int number)
{
    char address[64], name[64];
    snprintf(address, sizeof address, "%s%d", prefix, number % addresses + 1);
    snprintf(name, sizeof name, "n%d.h%d.bench.test", number, number % addresses);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, address, &to.sin_addr);

    struct probe *probe = calloc(1, sizeof *probe);
    int on = 1;
    probe->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd < 0) {
        perror("socket");
        exit(1);
    }
    setsockopt(probe->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(probe->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        perror("connect");
        exit(1);
    }
    probe->tls = SSL_new(context);
    SSL_set_fd(probe->tls, probe->fd);
    SSL_set_tlsext_host_name(probe->tls, name);
    SSL_set_connect_state(probe->tls);
    probe->waits_for = EPOLLOUT;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = probe};
    epoll_ctl(loop, EPOLL_CTL_ADD, probe->fd, &event);
}

static void keep_chain(SSL *tls)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        unsigned char *der = NULL;
        int length = i2d_X509(sk_X509_value(chain, i), &der);
        der_bytes += length > 0 ? (size_t)length : 0;
        OPENSSL_free(der);
    }
}

/* One step of a probe; 1 when it has ended. */
static int step(struct probe *probe)
{
    int result = SSL_do_handshake(probe->tls);
    if (result != 1) {
        int error = SSL_get_error(probe->tls, result);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            unsigned wanted = error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
            if (wanted != probe->waits_for) {
                struct epoll_event event = {.events = wanted, .data.ptr = probe};
                epoll_ctl(loop, EPOLL_CTL_MOD, probe->fd, &event);
                probe->waits_for = wanted;
            }
            return 0;
        }
        bad++;
    } else {
        keep_chain(probe->tls);
        SSL_shutdown(probe->tls);
        good++;
    }
    SSL_free(probe->tls);
    close(probe->fd);
    free(probe);
    return 1;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

int main(int count, char **words)
{
    if (count != 6) {
        fprintf(stderr, "anchor PREFIX ADDRESSES PORT TARGETS CONCURRENCY\n");
        return 2;
    }
    prefix = words[1], addresses = atoi(words[2]), port = atoi(words[3]);
    int targets = atoi(words[4]), concurrency = atoi(words[5]), next = 0, live = 0;
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    loop = epoll_create1(EPOLL_CLOEXEC);

    struct rusage before, after;
    struct timespec began, ended;
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &began);
    while (next < targets || live) {
        for (; live < concurrency && next < targets; live++)
            begin(next++);
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(loop, events, EVENTS, 10000);
        if (ready <= 0) {
            fprintf(stderr, "no server answered for ten seconds\n");
            return 1;
        }
        for (int i = 0; i < ready; i++)
            live -= step(events[i].data.ptr);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    getrusage(RUSAGE_SELF, &after);
    double wall = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    double cpu = seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime);
    printf("{\"good\": %ld, \"bad\": %ld, \"wall_s\": %.4f, \"cpu_s\": %.4f, \"der_bytes\": %zu, \"openssl\": \"%s\"}\n", good, bad, wall, cpu,
           der_bytes, OpenSSL_version(OPENSSL_VERSION));
    return bad != 0;
}
