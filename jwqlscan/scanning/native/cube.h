/* The cube; same contract as jwqlscan/model/cube.py. */
#pragma once

#include "names.h"

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The class of a file by its extension. */
static uint32_t
extension_class(Walk *walk, const char *name, size_t length)
{
    char ending[16] = {0};
    size_t at = length;
    while (at > 0 && name[at - 1] != '.') {
        at--;
    }
    size_t count = length - at, stem = 0;
    while (stem + 1 < at && name[stem] == '.') {
        stem++;
    }
    bool good = at > 1 && stem + 1 < at && count > 0 && count < sizeof(ending);
    for (size_t i = 0; good && i < count; i++) {
        char c = name[at + i];
        if (c >= 'A' && c <= 'Z') {
            c += 'a' - 'A';
        }
        good = (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-' || c == '+'
               || c == '~';
        ending[i] = c;
    }
    if (!good) {
        count = 0;
        memset(ending, 0, sizeof(ending));
    }
    uint64_t words[2];
    memcpy(words, ending, sizeof(words));
    uint64_t hash = (words[0] ^ words[1] * UINT64_C(0x9E3779B97F4A7C15))
                    * UINT64_C(0xBF58476D1CE4E5B9);
    hash ^= hash >> 29;
    Shape *slot = shape_slot(walk, &walk->extensions, ending, count, hash);
    return slot == NULL ? 0 : (EXTENSION_CLASS | (slot->number + 1));
}

static size_t
cell_hash(const Cell *cell)
{
    uint64_t hash = ((uint64_t)cell->uid << 32 | cell->gid) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= (uint64_t)cell->class << 24 | (uint64_t)cell->age << 8 | cell->size;
    hash *= UINT64_C(0xBF58476D1CE4E5B9);
    return (size_t)(hash ^ hash >> 31);
}

static size_t
program_hash(uint32_t program)
{
    return (size_t)(program * UINT64_C(0x9E3779B97F4A7C15) >> 24);
}

static bool
cells_grow(Walk *walk, CellTable *table)
{
    size_t larger = table->size == 0 ? 256 : table->size * 2;
    Cell *slots = calloc(larger, sizeof(Cell));
    if (slots == NULL) {
        walk->no_memory = true;
        return false;
    }
    CellTable grown = {slots, larger, table->used};
    for (size_t i = 0; i < table->size; i++) {
        const Cell *cell = &table->slots[i];
        if (cell->class != 0) {
            size_t at = cell_hash(cell) & (larger - 1);
            while (slots[at].class != 0) {
                at = (at + 1) & (larger - 1);
            }
            slots[at] = *cell;
        }
    }
    free(table->slots);
    *table = grown;
    return true;
}

/* Add files to a cell, a new one if need be. */
static void
add_to_cell(Walk *walk, CellTable *table, const Cell *more)
{
    if (table->used * 2 >= table->size && !cells_grow(walk, table)) {
        return;
    }
    size_t at = cell_hash(more) & (table->size - 1);
    for (;; at = (at + 1) & (table->size - 1)) {
        Cell *cell = &table->slots[at];
        if (cell->class == 0) {
            *cell = *more;
            table->used++;
            return;
        }
        if (cell->class == more->class && cell->uid == more->uid && cell->gid == more->gid
            && cell->age == more->age && cell->size == more->size) {
            cell->count += more->count;
            cell->bytes += more->bytes;
            cell->allocated += more->allocated;
            return;
        }
    }
}

/* Add the file that was counted last: its cell is on its way from memory since then. */
static void
settle_cell(Walk *walk)
{
    if (walk->pending.class != 0) {
        add_to_cell(walk, &walk->cells, &walk->pending);
        walk->pending.class = 0;
    }
}

static void
count_cell(Walk *walk, uint32_t class, const struct stat *stat, uint64_t size, uint64_t allocated)
{
    const Reader *reader = walk->reader;
    settle_cell(walk);
    if (class == 0) {
        return;
    }
    Cell one = {.class = class, .uid = stat->st_uid, .gid = stat->st_gid, .count = 1,
                .bytes = size, .allocated = allocated};
    while (one.age < reader->age_count && stat->st_mtime <= reader->age_limits[one.age]) {
        one.age++;
    }
    one.size = size == 0 ? 0 : (uint16_t)(64 - __builtin_clzll(size));
    /* Of a JWST archive a batch has some 10,000 cells: the processor would wait for each, and gets
     * it while the next file is asked for instead. */
    if (walk->cells.size > 0) {
        __builtin_prefetch(&walk->cells.slots[cell_hash(&one) & (walk->cells.size - 1)], 1);
    }
    walk->pending = one;
}

static void
count_program(Walk *walk, const char *name, size_t length, uint64_t size)
{
    const Reader *reader = walk->reader;
    size_t start = reader->program_prefix.lengths[0], digits = (size_t)reader->program_digits;
    if (digits == 0 || length < start + digits
        || memcmp(name, reader->program_prefix.text, start) != 0) {
        return;
    }
    uint32_t program = 0;
    for (size_t i = start; i < start + digits; i++) {
        if (!is_digit(name[i])) {
            return;
        }
        program = program * 10 + (uint32_t)(name[i] - '0');
    }
    ProgramTable *table = &walk->programs;
    if (table->used * 2 >= table->size) {
        size_t larger = table->size == 0 ? 64 : table->size * 2;
        Program *slots = calloc(larger, sizeof(Program));
        if (slots == NULL) {
            walk->no_memory = true;
            return;
        }
        for (size_t i = 0; i < table->size; i++) {
            if (table->slots[i].program != 0) {
                size_t at = program_hash(table->slots[i].program) & (larger - 1);
                while (slots[at].program != 0) {
                    at = (at + 1) & (larger - 1);
                }
                slots[at] = table->slots[i];
            }
        }
        free(table->slots);
        table->slots = slots;
        table->size = larger;
    }
    size_t at = program_hash(program + 1) & (table->size - 1);
    while (table->slots[at].program != 0 && table->slots[at].program != program + 1) {
        at = (at + 1) & (table->size - 1);
    }
    Program *slot = &table->slots[at];
    if (slot->program == 0) {
        slot->program = program + 1;
        table->used++;
    }
    slot->count++;
    slot->bytes += size;
}
