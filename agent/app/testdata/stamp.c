/* The command of an exec hook, for benchmarks: it says that it runs, and when, as the first thing that it does. A shell
 * takes the better part of a millisecond for its own start.
 *
 *   stamp FIFO [NAME [GATE]]
 *
 * NAME is otherwise that of the step. One that begins with h then waits for a line from GATE.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	char line[256];
	clock_gettime(CLOCK_REALTIME, &t);
	int fd = argc > 1 ? open(argv[1], O_WRONLY | O_CLOEXEC) : -1;
	const char *name = argc > 2 && argv[2][0] ? argv[2] : getenv("FIREBREAK_STEP");
	if (fd < 0 || name == NULL)
		return 1;
	int n = snprintf(line, sizeof line, "%.200s %lld%09ld\n", name, (long long)t.tv_sec, t.tv_nsec);
	if (write(fd, line, n) != n)
		return 1;
	if (name[0] == 'h' && argc > 3) {
		fd = open(argv[3], O_RDONLY | O_CLOEXEC);
		return fd < 0 || read(fd, line, 1) != 1;
	}
	return 0;
}
