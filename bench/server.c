/* A TLS server for benchmarks: one epoll loop on many loopback addresses, with a certificate of its own for every name.
 *
 *     cc -O2 -o server server.c -lssl -lcrypto
 *     ./server PREFIX ADDRESSES PORT LEAVES.pem CHAIN.pem KEY.pem MODE HELD
 *
 * Listens at PREFIX1 .. PREFIX<ADDRESSES>. A name n<i>.anything is shown the i-th certificate of LEAVES and all of CHAIN; one key for all.
 * MODE: any, tls12 (nothing newer is spoken), or held: the last bytes of each first flight are kept back until HELD connections wait for
 * theirs, so that all of them are in the middle of their handshake at once; from then on none is held. Says "ready" and serves until killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, KEPT_BACK = 16, MOST = 65536 };

struct client {
    int fd;       /* a listener where tls is NULL */
    SSL *tls;     /* speaks to memory: what goes out passes through flush() */
    int first;    /* the first flight has not gone out */
    int kept_len; /* the bytes kept back */
    unsigned char kept[KEPT_BACK];
    struct client *next; /* of those that wait */
};

static SSL_CTX *context;
static X509 *leaves[MOST];
static int leaf_count, loop, to_hold, held;
static struct client *waiting;

static X509 *read_certificate(FILE *file) { return PEM_read_X509(file, NULL, NULL, NULL); }

static FILE *open_or_end(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(1);
    }
    return file;
}

static int show_leaf(SSL *tls, int *alert, void *unused)
{
    (void)alert, (void)unused;
    const char *name = SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name);
    int number = name && name[0] == 'n' ? atoi(name + 1) : 0;
    SSL_use_certificate(tls, leaves[number >= 0 && number < leaf_count ? number : 0]);
    return SSL_TLSEXT_ERR_OK;
}

static void set_up(char **words)
{
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    if (!strcmp(words[7], "tls12"))
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    to_hold = strcmp(words[7], "held") ? 0 : atoi(words[8]);
    FILE *file = open_or_end(words[4]);
    while (leaf_count < MOST && (leaves[leaf_count] = read_certificate(file)))
        leaf_count++;
    fclose(file);
    if (!leaf_count || SSL_CTX_use_certificate(context, leaves[0]) != 1 || SSL_CTX_use_PrivateKey_file(context, words[6], SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "no leaf, or no key that fits it\n");
        exit(1);
    }
    file = open_or_end(words[5]);
    for (X509 *each; (each = read_certificate(file));)
        SSL_CTX_add_extra_chain_cert(context, each);
    fclose(file);
    SSL_CTX_set_tlsext_servername_callback(context, show_leaf);
}

static void watch(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(loop, EPOLL_CTL_ADD, client->fd, &event);
}

static void listen_at(const char *prefix, int number, int port)
{
    char address[64];
    int on = 1;
    snprintf(address, sizeof address, "%s%d", prefix, number);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, address, &at.sin_addr);
    struct client *listener = calloc(1, sizeof *listener);
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener->fd, (struct sockaddr *)&at, sizeof at) || listen(listener->fd, 4096)) {
        perror(address);
        exit(1);
    }
    watch(listener);
}

static void greet(struct client *listener)
{
    for (int fd, on = 1; (fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct client *client = calloc(1, sizeof *client);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client->fd = fd, client->first = 1, client->tls = SSL_new(context);
        SSL_set_bio(client->tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_accept_state(client->tls);
        watch(client);
    }
}

static void say(int fd, const void *bytes, int length)
{
    if (length > 0 && send(fd, bytes, (size_t)length, MSG_NOSIGNAL) < 0)
        return; /* who has gone is noticed at the next read */
}

static void let_go(void)
{
    for (; waiting; waiting = waiting->next) {
        say(waiting->fd, waiting->kept, waiting->kept_len);
        waiting->kept_len = 0;
    }
    to_hold = 0;
}

static void flush(struct client *client)
{
    unsigned char *bytes;
    long length = BIO_get_mem_data(SSL_get_wbio(client->tls), &bytes);
    if (length <= 0)
        return;
    if (client->first && to_hold && length > KEPT_BACK) {
        memcpy(client->kept, bytes + length - KEPT_BACK, KEPT_BACK);
        client->kept_len = KEPT_BACK, client->next = waiting, waiting = client;
        say(client->fd, bytes, (int)length - KEPT_BACK);
        if (++held == to_hold)
            let_go();
    } else
        say(client->fd, bytes, (int)length);
    client->first = 0;
    (void)BIO_reset(SSL_get_wbio(client->tls));
}

static void forget(struct client *client)
{
    for (struct client **at = &waiting; *at; at = &(*at)->next)
        if (*at == client) {
            *at = client->next;
            break;
        }
    SSL_free(client->tls);
    close(client->fd);
    free(client);
}

static void attend(struct client *client)
{
    unsigned char bytes[16384];
    ssize_t length = read(client->fd, bytes, sizeof bytes);
    if (length <= 0) {
        forget(client);
        return;
    }
    BIO_write(SSL_get_rbio(client->tls), bytes, (int)length);
    if (SSL_is_init_finished(client->tls))
        while (SSL_read(client->tls, bytes, sizeof bytes) > 0)
            ;
    else
        SSL_do_handshake(client->tls);
    flush(client);
}

int main(int count, char **words)
{
    if (count != 9) {
        fprintf(stderr, "server PREFIX ADDRESSES PORT LEAVES CHAIN KEY any|tls12|held HELD\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    loop = epoll_create1(0);
    set_up(words);
    for (int i = 1; i <= atoi(words[2]); i++)
        listen_at(words[1], i, atoi(words[3]));
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client->tls)
                attend(client);
            else
                greet(client);
        }
    }
}
