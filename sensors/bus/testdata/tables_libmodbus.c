/* Devices of libmodbus (Debian's libmodbus-dev), each on a line of its own and all behind one TCP port.
 *
 *   tables_libmodbus UNIT=TTY...
 *
 * It says "ready PORT". Lines on stdin: "set UNIT FUNCTION ADDRESS WORD..." with the function that reads the
 * table (1 to 4), answered with "ok". It knows no function 43. It ends with its stdin.
 */
#include <arpa/inet.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ALL = 65536, UNITS = 248, MAX_FDS = 600 };

static modbus_mapping_t *units[UNITS];
static struct pollfd fds[MAX_FDS] = {{.fd = 0, .events = POLLIN}};
static modbus_t *of[MAX_FDS];
static int n = 1;

static void add(modbus_t *c, int fd, const char *what)
{
	if (fd < 0 || n == MAX_FDS) {
		fprintf(stderr, "cannot open %s\n", what);
		exit(1);
	}
	of[n] = c;
	fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void follow(void)
{
	static char *line;
	static size_t room;
	if (getline(&line, &room, stdin) <= 0)
		exit(0);
	strtok(line, " \n"); /* set */
	int number[3] = {0};
	for (int i = 0; i < 3; i++)
		number[i] = atoi(strtok(NULL, " \n"));
	modbus_mapping_t *m = units[number[0]];
	int at = number[2];
	for (char *word; (word = strtok(NULL, " \n")) != NULL && at < ALL; at++)
		switch (number[1]) {
		case 1: m->tab_bits[at] = atoi(word); break;
		case 2: m->tab_input_bits[at] = atoi(word); break;
		case 3: m->tab_registers[at] = atoi(word); break;
		case 4: m->tab_input_registers[at] = atoi(word); break;
		}
	puts("ok");
}

/* answer takes one request; -1: its client is gone. */
static int answer(modbus_t *c, int fd)
{
	uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
	modbus_set_socket(c, fd);
	int got = modbus_receive(c, query);
	if (got <= 0)
		return got;
	modbus_mapping_t *m = units[query[modbus_get_header_length(c) - 1] % UNITS];
	return m == NULL ? -1 : modbus_reply(c, query, got, m);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	modbus_t *tcp = modbus_new_tcp("127.0.0.1", 0);
	int listener = modbus_tcp_listen(tcp, 64);
	add(tcp, listener, "a TCP port");
	for (int i = 1; i < argc; i++) {
		char *tty = strchr(argv[i], '=') + 1;
		int unit = atoi(argv[i]);
		modbus_t *rtu = modbus_new_rtu(tty, 115200, 'N', 8, 1);
		modbus_set_slave(rtu, unit);
		add(rtu, modbus_connect(rtu) == 0 ? modbus_get_socket(rtu) : -1, tty);
		units[unit] = modbus_mapping_new(ALL, ALL, ALL, ALL);
	}
	int lines = n;
	struct sockaddr_in a;
	socklen_t size = sizeof a;
	getsockname(listener, (struct sockaddr *)&a, &size);
	printf("ready %d\n", ntohs(a.sin_port));
	while (poll(fds, n, -1) >= 0) {
		int polled = n;
		if (fds[0].revents)
			follow();
		if (fds[1].revents) {
			int fd = listener; /* modbus_tcp_accept stores a failed accept there */
			add(tcp, modbus_tcp_accept(tcp, &fd), "a client");
		}
		for (int i = polled - 1; i > 1; i--)
			if (fds[i].revents && answer(of[i], fds[i].fd) < 0 && i >= lines) {
				close(fds[i].fd);
				n--;
				fds[i] = fds[n];
				of[i] = of[n];
			}
	}
	return 1;
}
