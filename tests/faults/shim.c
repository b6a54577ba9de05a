/* Fails one write, fsync, rename, link or removal below a folder, in whichever process comes to it;
   or kills that process there, without a word, where the errno of the plan is none.

   cc -shared -fPIC -o shim.so shim.c -ldl
   FAULT_ROOT=/folder FAULT_PLAN=/file LD_PRELOAD=./shim.so command

   FAULT_PLAN is ten int64 that all processes share: which kind of call (KINDS below), which one of
   them (1 is the first, 0 none), its errno, whether all later ones fail as well, how many failed,
   and how many calls of each kind there were. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE, FSYNC, RENAME, LINK, UNLINK, KINDS };

struct plan {
    int64_t kind, which, error, sticky, failed, calls[KINDS];
};

static struct plan *plan;
static const char *root;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_PLAN");
    root = getenv("FAULT_ROOT");
    if (path == NULL || root == NULL)
        return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED)
        plan = shared;
}

static int below_root(const char *path)
{
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && path[length] == '/';
}

static int fails(int kind)
{
    int64_t number = __atomic_add_fetch(&plan->calls[kind], 1, __ATOMIC_SEQ_CST);
    if (kind != plan->kind || plan->which == 0 || number < plan->which)
        return 0;
    if (number > plan->which && !plan->sticky)
        return 0;
    __atomic_add_fetch(&plan->failed, 1, __ATOMIC_SEQ_CST);
    if (plan->error == 0)
        kill(getpid(), SIGKILL);
    errno = (int)plan->error;
    return 1;
}

static int file_fails(int kind, int file)
{
    char link[64], path[PATH_MAX];
    if (plan == NULL)
        return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return below_root(path) && fails(kind);
}

static int path_fails(int kind, const char *path)
{
    char whole[2 * PATH_MAX], folder[PATH_MAX];
    if (plan == NULL)
        return 0;
    if (path[0] == '/' || getcwd(folder, sizeof folder) == NULL)
        return below_root(path) && fails(kind);
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    return below_root(whole) && fails(kind);
}

#define INSTEAD(result, kind, check, subject, name, declared, arguments) \
    result name declared                                                 \
    {                                                                    \
        static result(*original) declared;                               \
        if (original == NULL)                                            \
            *(void **)&original = dlsym(RTLD_NEXT, #name);               \
        return check(kind, subject) ? -1 : original arguments;           \
    }

INSTEAD(ssize_t, WRITE, file_fails, a, write, (int a, const void *b, size_t n), (a, b, n))
INSTEAD(ssize_t, WRITE, file_fails, a, pwrite, (int a, const void *b, size_t n, off_t o), (a, b, n, o))
INSTEAD(ssize_t, WRITE, file_fails, a, pwrite64, (int a, const void *b, size_t n, off64_t o), (a, b, n, o))
INSTEAD(ssize_t, WRITE, file_fails, a, sendfile, (int a, int b, off_t *o, size_t n), (a, b, o, n))
INSTEAD(ssize_t, WRITE, file_fails, a, sendfile64, (int a, int b, off64_t *o, size_t n), (a, b, o, n))
INSTEAD(ssize_t, WRITE, file_fails, b, copy_file_range,
        (int a, off64_t *o, int b, off64_t *p, size_t n, unsigned f), (a, o, b, p, n, f))
INSTEAD(int, FSYNC, file_fails, a, fsync, (int a), (a))
INSTEAD(int, FSYNC, file_fails, a, fdatasync, (int a), (a))
INSTEAD(int, RENAME, path_fails, b, rename, (const char *a, const char *b), (a, b))
INSTEAD(int, RENAME, path_fails, b, renameat, (int c, const char *a, int d, const char *b), (c, a, d, b))
INSTEAD(int, RENAME, path_fails, b, renameat2,
        (int c, const char *a, int d, const char *b, unsigned f), (c, a, d, b, f))
INSTEAD(int, LINK, path_fails, b, link, (const char *a, const char *b), (a, b))
INSTEAD(int, LINK, path_fails, b, linkat,
        (int c, const char *a, int d, const char *b, int f), (c, a, d, b, f))
INSTEAD(int, UNLINK, path_fails, a, unlink, (const char *a), (a))
INSTEAD(int, UNLINK, path_fails, a, rmdir, (const char *a), (a))
INSTEAD(int, UNLINK, file_fails, a, unlinkat, (int a, const char *b, int f), (a, b, f))
