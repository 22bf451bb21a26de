/* Makes the N-th change below one directory fail: loaded by LD_PRELOAD, armed by a call.
 *
 * Every libc function through which Python changes a file or a directory is a boundary.
 * Only this process is armed: a child that it executes begins without.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, ERROR, FULL, SHORT, TORN, STOP };

static int armed, kind, error, log_fd = -1;
static long at;
static char root[PATH_MAX];
static atomic_long seen;
static const char *const space[] = {"open", "write", "mkdir", "rename", "link", "fsync", 0};

void faults_arm(const char *directory, int kind_, long at_, int error_, int log_fd_)
{
	snprintf(root, sizeof(root), "%s", directory);
	kind = kind_, at = at_, error = error_, log_fd = log_fd_;
	seen = 0;
	armed = 1;
}

static int below(const char *path)
{
	size_t n = strlen(root);

	return !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

static int of_fd(int fd, char *out)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out, PATH_MAX - 1);
	if (n < 0)
		return 0;
	out[n] = 0;
	return 1;
}

static int of_path(int dir, const char *path, char *out)
{
	char base[PATH_MAX];

	if (path[0] == '/')
		return snprintf(out, PATH_MAX, "%s", path) > 0;
	if (dir == AT_FDCWD ? !getcwd(base, sizeof(base)) : !of_fd(dir, base))
		return 0;
	return snprintf(out, 2 * PATH_MAX, "%s/%s", base, path) > 0;
}

static int takes_space(const char *name)
{
	for (int i = 0; space[i]; i++)
		if (!strcmp(space[i], name))
			return 1;
	return 0;
}

/* What becomes of a call: 0 goes on, -1 failed with errno, 1 does part of it. */
static int boundary(const char *name, const char *path)
{
	char line[3 * PATH_MAX + 64];
	long now;

	if (!armed || !below(path))
		return 0;
	now = ++seen;
	if (log_fd >= 0) {
		int n = snprintf(line, sizeof(line), "%ld %s %s\n", now, name, path);

		syscall(SYS_write, log_fd, line, n);
	}
	if (kind == FULL && now >= at && takes_space(name)) {
		errno = error;
		return -1;
	}
	if (now != at || kind == COUNT)
		return 0;
	if (kind == KILL)
		kill(getpid(), SIGKILL);
	if (kind == STOP)
		kill(getpid(), SIGSTOP);
	if (kind == ERROR) {
		errno = error;
		return -1;
	}
	return kind == SHORT || kind == TORN;
}

static int at_path(const char *name, int dir, const char *path)
{
	char full[3 * PATH_MAX];
	int saved = errno, what;

	if (!armed || !of_path(dir, path, full))
		return 0;
	errno = saved;
	what = boundary(name, full);
	return what < 0 ? what : 0;
}

static int at_fd(const char *name, int fd)
{
	char full[PATH_MAX];
	int saved = errno;

	if (!armed || !of_fd(fd, full))
		return 0;
	errno = saved;
	return boundary(name, full);
}

#define REAL(ret, name, ...) ((ret (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

#define OPEN(name, first, dir, ...)                                             \
	int name(first const char *path, int flags, ...)                        \
	{                                                                       \
		va_list more;                                                   \
		mode_t mode;                                                    \
                                                                                \
		va_start(more, flags);                                          \
		mode = va_arg(more, int);                                       \
		va_end(more);                                                   \
		if (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR) &&          \
		    at_path("open", dir, path))                                 \
			return -1;                                              \
		return REAL(int, name, first const char *, int, ...)(__VA_ARGS__); \
	}
#define COMMA ,
OPEN(open, , AT_FDCWD, path, flags, mode)
OPEN(open64, , AT_FDCWD, path, flags, mode)
OPEN(openat, int fd COMMA, fd, fd, path, flags, mode)
OPEN(openat64, int fd COMMA, fd, fd, path, flags, mode)

ssize_t write(int fd, const void *data, size_t size)
{
	int what = at_fd("write", fd);

	if (what < 0)
		return -1;
	if (what) {
		ssize_t done = REAL(ssize_t, write, int, const void *, size_t)(fd, data, (size + 1) / 2);

		if (kind == TORN)
			kill(getpid(), SIGKILL);
		return done;
	}
	return REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	int what = at_fd("write", fd);

	if (what < 0)
		return -1;
	if (what)
		size = (size + 1) / 2;
	ssize_t done = REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, offset);

	if (what && kind == TORN)
		kill(getpid(), SIGKILL);
	return done;
}

#define ON_FD(name, as)                                                         \
	int name(int fd)                                                        \
	{                                                                       \
		return at_fd(as, fd) < 0 ? -1 : REAL(int, name, int)(fd);       \
	}
ON_FD(fsync, "fsync")
ON_FD(fdatasync, "fsync")

int ftruncate64(int fd, off64_t size)
{
	return at_fd("truncate", fd) < 0 ? -1 : REAL(int, ftruncate64, int, off64_t)(fd, size);
}

int flock(int fd, int operation)
{
	return at_fd("flock", fd) < 0 ? -1 : REAL(int, flock, int, int)(fd, operation);
}

int fchmod(int fd, mode_t mode)
{
	return at_fd("chmod", fd) < 0 ? -1 : REAL(int, fchmod, int, mode_t)(fd, mode);
}

int chmod(const char *path, mode_t mode)
{
	return at_path("chmod", AT_FDCWD, path) ? -1
						: REAL(int, chmod, const char *, mode_t)(path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return at_path("mkdir", AT_FDCWD, path) ? -1
						: REAL(int, mkdir, const char *, mode_t)(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	return at_path("mkdir", dir, path)
		       ? -1
		       : REAL(int, mkdirat, int, const char *, mode_t)(dir, path, mode);
}

int rmdir(const char *path)
{
	return at_path("rmdir", AT_FDCWD, path) ? -1 : REAL(int, rmdir, const char *)(path);
}

int unlink(const char *path)
{
	return at_path("unlink", AT_FDCWD, path) ? -1 : REAL(int, unlink, const char *)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
	return at_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", dir, path)
		       ? -1
		       : REAL(int, unlinkat, int, const char *, int)(dir, path, flags);
}

/* Both paths are told, with a tab between them: what was written, and what it is now. */
static int at_rename(int from, const char *old, int to, const char *new)
{
	char both[3 * PATH_MAX], full[3 * PATH_MAX];
	int saved = errno, n;

	if (!armed || !of_path(to, new, full) || !below(full) || !of_path(from, old, both))
		return 0;
	n = strlen(both);
	snprintf(both + n, sizeof(both) - n, "\t%s", full);
	errno = saved;
	return boundary("rename", both) < 0 ? -1 : 0;
}

int rename(const char *old, const char *new)
{
	return at_rename(AT_FDCWD, old, AT_FDCWD, new)
		       ? -1
		       : REAL(int, rename, const char *, const char *)(old, new);
}

int renameat(int from, const char *old, int to, const char *new)
{
	return at_rename(from, old, to, new)
		       ? -1
		       : REAL(int, renameat, int, const char *, int, const char *)(from, old, to, new);
}

int link(const char *old, const char *new)
{
	return at_path("link", AT_FDCWD, new) ? -1
					      : REAL(int, link, const char *, const char *)(old, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
	return at_path("link", to, new)
		       ? -1
		       : REAL(int, linkat, int, const char *, int, const char *,
			      int)(from, old, to, new, flags);
}

int symlink(const char *target, const char *path)
{
	return at_path("symlink", AT_FDCWD, path)
		       ? -1
		       : REAL(int, symlink, const char *, const char *)(target, path);
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
	if (at_path("utime", dir, path))
		return -1;
	return REAL(int, utimensat, int, const char *, const struct timespec *, int)(dir, path, times,
										   flags);
}

int futimens(int fd, const struct timespec times[2])
{
	return at_fd("utime", fd) < 0
		       ? -1
		       : REAL(int, futimens, int, const struct timespec *)(fd, times);
}
