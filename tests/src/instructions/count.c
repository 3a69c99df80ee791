/* Counts the instructions of each virtual CPU: a plugin of QEMU (docs/devel/tcg-plugins.rst, API version 2
 * and later), whose header is in no package, so what is used of it is declared here. The counts are in a file that is mapped:
 * 64 bits, little-endian, for each CPU in turn. */

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUS 16

struct tb;
typedef uint64_t plugin_id;
size_t qemu_plugin_tb_n_insns(const struct tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id id, struct tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *tb, void (*executed)(unsigned int cpu, void *data), int flags, void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = 2;

static volatile uint64_t *counts;

static void executed(unsigned int cpu, void *instructions)
{
    /* Each CPU has a thread and a place of its own. */
    counts[cpu % CPUS] += (uintptr_t)instructions;
}

static void translated(plugin_id id, struct tb *tb)
{
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0)
        return -1;
    int file = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, CPUS * sizeof *counts) != 0)
        return -1;
    counts = mmap(NULL, CPUS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
