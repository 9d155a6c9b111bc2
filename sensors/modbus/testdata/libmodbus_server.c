/* A Modbus server of libmodbus (Debian's libmodbus-dev), for the tests and benchmarks against it.
 *
 *   libmodbus_server tcp PORT...      one process serves all ports, each a device of its own for any number of clients
 *   libmodbus_server rtu PATH UNIT
 *
 * Each register holds address * 7 + function * 4096, each bit the parity of address * 5 / 3 + function: a
 * value that reaches the wrong point shows. Lines on stdin: "set ADDRESS VALUE" writes a holding
 * register of every device, "set ADDRESS VALUE PORT" of one, and is answered with "ok". It ends with its stdin.
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

/* What is behind a descriptor: the device that listens there or that its client has connected to. */
struct device {
	modbus_t *ctx;
	modbus_mapping_t *m;
	const char *port;
};

static void lead(const struct device *devices, int n)
{
	char line[256], port[16];
	unsigned address, value;
	ssize_t got = read(0, line, sizeof line - 1);
	if (got <= 0)
		exit(0);
	line[got] = 0;
	for (char *s = strtok(line, "\n"); s != NULL; s = strtok(NULL, "\n")) {
		int fields = sscanf(s, "set %u %u %15s", &address, &value, port);
		if (fields < 2 || address >= REGISTERS)
			continue;
		for (int i = 0; i < n; i++)
			if (fields == 2 || strcmp(devices[i].port, port) == 0)
				devices[i].m->tab_registers[address] = value;
		puts("ok");
	}
}

int main(int argc, char **argv)
{
	uint8_t query[MODBUS_MAX_ADU_LENGTH];
	struct pollfd fds[MAX_FDS] = {{.fd = 0, .events = POLLIN}};
	struct device of[MAX_FDS];
	int n = 1, listening = 1, rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3) {
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
		of[n] = (struct device){c, mapping(), argv[i]};
		if (of[n].m == NULL) {
			fprintf(stderr, "no memory for the registers of %s\n", argv[i]);
			return 1;
		}
		fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	int devices = n;
	listening = rtu ? 1 : n;
	puts("ready");
	for (;;) {
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[0].revents)
			lead(of + 1, devices - 1);
		for (int i = 1; i < listening && n < MAX_FDS; i++)
			if (fds[i].revents) {
				int fd = fds[i].fd; /* modbus_tcp_accept stores a failed accept there */
				int got = modbus_tcp_accept(of[i].ctx, &fd);
				if (got >= 0) {
					of[n] = of[i];
					fds[n++] = (struct pollfd){.fd = got, .events = POLLIN};
				}
			}
		for (int i = listening; i < n; i++) {
			if (!fds[i].revents)
				continue;
			modbus_set_socket(of[i].ctx, fds[i].fd);
			rc = modbus_receive(of[i].ctx, query);
			if (rc > 0)
				rc = modbus_reply(of[i].ctx, query, rc, of[i].m);
			if (rc < 0 && !rtu) {
				close(fds[i].fd);
				fds[i] = fds[--n];
				of[i] = of[n];
				i--;
			}
		}
	}
}
