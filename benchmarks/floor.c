/* The least that serves the clients of a case: one recv and one send per ready client, no parsing and no servers.
 *
 * floor PORT PATH REQUEST_BYTES REPLY_FILE
 *
 * Listens on a TCP port of 127.0.0.1 and on a unix socket. Every REQUEST_BYTES bytes from a client get the bytes of
 * REPLY_FILE. An exception is what redis-benchmark asks for first: a connection that begins with CONFIG gets errors. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 65536
#define READ_BYTES 65536
#define LEAST_REPLIES (4 << 20)

static size_t request_bytes, reply_bytes, room;
static char *replies; /* the reply again and again, at least LEAST_REPLIES bytes and one reply more */
static struct client {
    size_t received; /* bytes of an incomplete request */
    size_t owed;     /* bytes of replies to send */
    size_t offset;   /* where the next of them is in a reply */
    int writes;      /* waits until the socket takes more */
} clients[CLIENTS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd, int op, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, op, fd, &event) < 0)
        fail("epoll_ctl");
}

static int listen_on(struct sockaddr *address, socklen_t size) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, address, size) < 0 || listen(fd, 1024) < 0)
        fail("listen");
    return fd;
}

static void read_reply(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        fail(path);
    reply_bytes = ftell(file);
    rewind(file);
    room = (LEAST_REPLIES / reply_bytes + 1) * reply_bytes;
    replies = malloc(room + reply_bytes);
    if (!replies || fread(replies, 1, reply_bytes, file) != reply_bytes)
        fail(path);
    for (size_t at = reply_bytes; at < room + reply_bytes; at += reply_bytes)
        memcpy(replies + at, replies, reply_bytes);
    fclose(file);
}

static void serve(int epoll, int fd, unsigned events) {
    static char input[READ_BYTES];
    struct client *client = &clients[fd];
    if (!(events & EPOLLOUT)) {
        ssize_t got = recv(fd, input, sizeof input, 0);
        if (got <= 0) {
            close(fd);
            return;
        }
        if (got > 14 && memcmp(input + 8, "CONFIG", 6) == 0) {
            send(fd, "-ERR\r\n-ERR\r\n", 12, MSG_NOSIGNAL);
            return;
        }
        client->received += got;
        client->owed += client->received / request_bytes * reply_bytes;
        client->received %= request_bytes;
    }
    if (client->owed > 0) {
        size_t size = client->owed < room ? client->owed : room;
        ssize_t sent = send(fd, replies + client->offset, size, MSG_NOSIGNAL);
        if (sent < 0)
            sent = 0;
        client->owed -= sent;
        client->offset = (client->offset + sent) % reply_bytes;
    }
    if (client->writes != (client->owed > 0)) {
        client->writes = client->owed > 0;
        watch(epoll, fd, EPOLL_CTL_MOD, client->writes ? EPOLLOUT : EPOLLIN);
    }
}

int main(int count, char **words) {
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    static struct epoll_event ready[1024];
    if (count != 5 || strlen(words[2]) >= sizeof local.sun_path) {
        fprintf(stderr, "floor PORT PATH REQUEST_BYTES REPLY_FILE\n");
        return 2;
    }
    tcp.sin_port = htons(atoi(words[1]));
    strcpy(local.sun_path, words[2]);
    request_bytes = strtoul(words[3], NULL, 10);
    read_reply(words[4]);
    int epoll = epoll_create1(0), one = 1;
    int doors[2] = {listen_on((void *)&tcp, sizeof tcp), listen_on((void *)&local, sizeof local)};
    for (int i = 0; i < 2; i++)
        watch(epoll, doors[i], EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll, ready, 1024, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd != doors[0] && fd != doors[1]) {
                serve(epoll, fd, ready[i].events);
                continue;
            }
            int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
            if (client < 0)
                continue;
            if (client >= CLIENTS) {
                close(client);
                continue;
            }
            if (fd == doors[0])
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            clients[client] = (struct client){0};
            watch(epoll, client, EPOLL_CTL_ADD, EPOLLIN);
        }
    }
}
