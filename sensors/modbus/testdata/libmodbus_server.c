/* A Modbus server of libmodbus (Debian's libmodbus-dev), for the tests and benchmarks against it.
 *
 *   libmodbus_server tcp PORT...      one process serves all ports, each for any number of clients
 *   libmodbus_server rtu PATH UNIT
 *
 * Each register holds address * 7 + function * 4096, each bit the parity of address * 5 / 3 + function: a
 * value that reaches the wrong point shows. Lines on stdin: "set ADDRESS VALUE" writes a holding
 * register, and is answered with "ok". It ends with its stdin.
 */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REGISTERS = 4096, MAX_FDS = 1024 };

static modbus_mapping_t *mapping(void)
{
	modbus_mapping_t *m = modbus_mapping_new(REGISTERS, REGISTERS, REGISTERS, REGISTERS);
	if (m == NULL)
		return NULL;
	for (int a = 0; a < REGISTERS; a++) {
		m->tab_bits[a] = (a * 5 / 3 + 1) & 1;
		m->tab_input_bits[a] = (a * 5 / 3 + 2) & 1;
		m->tab_registers[a] = a * 7 + 3 * 4096;
		m->tab_input_registers[a] = a * 7 + 4 * 4096;
	}
	return m;
}

static void lead(modbus_mapping_t *m)
{
	char line[256];
	unsigned address, value;
	ssize_t n = read(0, line, sizeof line - 1);
	if (n <= 0)
		exit(0);
	line[n] = 0;
	for (char *s = strtok(line, "\n"); s != NULL; s = strtok(NULL, "\n"))
		if (sscanf(s, "set %u %u", &address, &value) == 2 && address < REGISTERS) {
			m->tab_registers[address] = value;
			puts("ok");
		}
}

int main(int argc, char **argv)
{
	uint8_t query[MODBUS_MAX_ADU_LENGTH];
	struct pollfd fds[MAX_FDS] = {{.fd = 0, .events = POLLIN}};
	modbus_t *of[MAX_FDS];
	int n = 1, listening = 1, rc;
	modbus_mapping_t *m = mapping();

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || m == NULL) {
		fprintf(stderr, "usage: %s tcp PORT... | rtu PATH UNIT\n", argv[0]);
		return 2;
	}
	int rtu = strcmp(argv[1], "rtu") == 0;
	for (int i = 2; i < argc && !(rtu && i > 2); i++) {
		modbus_t *c = rtu ? modbus_new_rtu(argv[2], 115200, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", atoi(argv[i]));
		if (rtu)
			modbus_set_slave(c, atoi(argv[3]));
		int fd = rtu ? (modbus_connect(c) == 0 ? modbus_get_socket(c) : -1) : modbus_tcp_listen(c, 16);
		if (fd < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], modbus_strerror(errno));
			return 1;
		}
		of[n] = c;
		fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	listening = rtu ? 1 : n;
	puts("ready");
	for (;;) {
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[0].revents)
			lead(m);
		for (int i = 1; i < listening && n < MAX_FDS; i++)
			if (fds[i].revents) {
				int fd = fds[i].fd; /* modbus_tcp_accept stores a failed accept there */
				int got = modbus_tcp_accept(of[i], &fd);
				if (got >= 0) {
					of[n] = of[i];
					fds[n++] = (struct pollfd){.fd = got, .events = POLLIN};
				}
			}
		for (int i = listening; i < n; i++) {
			if (!fds[i].revents)
				continue;
			modbus_set_socket(of[i], fds[i].fd);
			rc = modbus_receive(of[i], query);
			if (rc > 0)
				rc = modbus_reply(of[i], query, rc, m);
			if (rc < 0 && !rtu) {
				close(fds[i].fd);
				fds[i] = fds[--n];
				of[i] = of[n];
				i--;
			}
		}
	}
}
