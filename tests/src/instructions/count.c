/* Counts the instructions of each virtual CPU, and those of the first by where they lie: a plugin of QEMU (docs/devel/tcg-plugins.rst, API version 2
 * and later), whose header is in no package, so what is used of it is declared here. The counts are in a file that is mapped:
 * 64 bits, little-endian, for each CPU in turn, then for each word of code below 4 MiB, where the image lies, what the first
 * CPU has executed of the blocks that begin there. */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUS 16
#define PLACES (1 << 20)
#define LEN ((CPUS + PLACES) * sizeof(uint64_t))

struct tb;
typedef uint64_t plugin_id;
size_t qemu_plugin_tb_n_insns(const struct tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id id, struct tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *tb, void (*executed)(unsigned int cpu, void *data), int flags, void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = 2;

static volatile uint64_t *counts;

struct block {
    uint64_t instructions;
    uint64_t place;
};

static void executed(unsigned int cpu, void *data)
{
    const struct block *block = data;
    /* Each CPU has a thread and a place of its own. */
    counts[cpu % CPUS] += block->instructions;
    if (cpu == 0 && block->place < PLACES)
        counts[CPUS + block->place] += block->instructions;
}

static void translated(plugin_id id, struct tb *tb)
{
    /* QEMU does not say when it forgets a block; there are some ten thousand of them. */
    struct block *block = malloc(sizeof *block);
    if (block == NULL)
        abort();
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->place = qemu_plugin_tb_vaddr(tb) / 4;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0)
        return -1;
    int file = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, LEN) != 0)
        return -1;
    counts = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
