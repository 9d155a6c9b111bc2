/* The floor beneath a flip, for the benchmarks: a loop of libmodbus that reads each device once an interval, and when
 * the first register of one is above the limit makes a record durable and starts a program. It judges nothing else,
 * tells nobody, and what it starts is its own child.
 *
 *   floor JOURNAL INTERVAL_MS LIMIT FIFO STAMP PORT...
 */
#include <errno.h>
#include <fcntl.h>
#include <modbus.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REGISTERS = 100, RECORD = 1024, MAX_DEVICES = 64 };

static int act(int journal, char *stamp, char *fifo)
{
	char record[RECORD] = "a record";
	char *args[] = {stamp, fifo, "tell-hot", NULL}, *env[] = {NULL};
	pid_t pid;
	if (write(journal, record, RECORD) != RECORD || fdatasync(journal) != 0)
		return -1;
	if (posix_spawn(&pid, stamp, NULL, NULL, args, env) != 0)
		return -1;
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

int main(int argc, char **argv)
{
	modbus_t *of[MAX_DEVICES];
	int above[MAX_DEVICES] = {0}, n = argc - 6;
	uint16_t values[REGISTERS];
	struct timespec next;

	if (n < 1 || n > MAX_DEVICES) {
		fprintf(stderr, "usage: %s JOURNAL INTERVAL_MS LIMIT FIFO STAMP PORT...\n", argv[0]);
		return 2;
	}
	int journal = open(argv[1], O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
	long every = atol(argv[2]) * 1000000, limit = atol(argv[3]);
	for (int i = 0; i < n; i++) {
		of[i] = modbus_new_tcp("127.0.0.1", atoi(argv[6 + i]));
		if (of[i] == NULL || modbus_set_slave(of[i], 1) != 0 || modbus_connect(of[i]) != 0) {
			fprintf(stderr, "%s: %s\n", argv[6 + i], modbus_strerror(errno));
			return 1;
		}
	}
	puts("ready");
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		for (int i = 0; i < n; i++) {
			if (modbus_read_registers(of[i], 0, REGISTERS, values) != REGISTERS)
				return 1;
			int was = above[i];
			above[i] = values[0] > limit;
			if (above[i] && !was && act(journal, argv[5], argv[4]) != 0) {
				perror("floor");
				return 1;
			}
		}
		next.tv_sec += (next.tv_nsec + every) / 1000000000;
		next.tv_nsec = (next.tv_nsec + every) % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}
