/* Names: those of FITS files are counted by their shape, which Python classifies. */
#pragma once

#include "walk.h"

static bool
is_vanished(int number)
{
    return number == ENOENT || number == ENOTDIR || number == ELOOP;
}

/* Copy a name with every digit of runs of three or more replaced by '0', but those that the naming
 * scheme wants kept; return its hash. */
static uint64_t
make_shape(const Reader *reader, const char *name, size_t length, char *shape)
{
    memset(shape + (length & ~(size_t)7), 0, 8);
    memcpy(shape, name, length);
    size_t run = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && name[i] >= '0' && name[i] <= '9') {
            run++;
            continue;
        }
        if (run >= 3) {
            memset(shape + i - run, '0', run);
        }
        run = 0;
    }
    size_t from = reader->kept_from, to = reader->kept_to < length ? reader->kept_to : length;
    if (from < to) {
        memcpy(shape + from, name + from, to - from);
    }
    uint64_t hash = length;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word;
        memcpy(&word, shape + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return hash;
}

static bool
shapes_grow(Walk *walk, ShapeTable *table)
{
    size_t larger = table->size == 0 ? 256 : table->size * 2;
    Shape *slots = calloc(larger, sizeof(Shape));
    if (slots == NULL) {
        walk->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < table->size; i++) {
        if (table->slots[i].key != NULL) {
            size_t at = table->slots[i].hash & (larger - 1);
            while (slots[at].key != NULL) {
                at = (at + 1) & (larger - 1);
            }
            slots[at] = table->slots[i];
        }
    }
    free(table->slots);
    table->slots = slots;
    table->size = larger;
    return true;
}

/* The slot of a shape, a new one if need be; NULL: no memory. */
static Shape *
shape_slot(Walk *walk, ShapeTable *table, const char *shape, size_t length, uint64_t hash)
{
    if (table->used * 2 >= table->size && !shapes_grow(walk, table)) {
        return NULL;
    }
    size_t at = hash & (table->size - 1);
    for (;; at = (at + 1) & (table->size - 1)) {
        Shape *slot = &table->slots[at];
        if (slot->key == NULL) {
            char *key = malloc(length + 1);
            if (key == NULL) {
                walk->no_memory = true;
                return NULL;
            }
            memcpy(key, shape, length);
            *slot = (Shape){.hash = hash, .key = key, .length = length,
                            .number = (uint32_t)table->used};
            table->used++;
            return slot;
        }
        if (slot->hash == hash && slot->length == length
            && memcmp(slot->key, shape, length) == 0) {
            return slot;
        }
    }
}

/* Whether a name has one of the endings that products have: those are the FITS files. */
static bool
is_fits(const Reader *reader, const char *name, size_t length)
{
    const char *ending = reader->endings.text;
    for (size_t i = 0; i < reader->endings.count; i++) {
        size_t size = reader->endings.lengths[i];
        if (length >= size && memcmp(name + length - size, ending, size) == 0) {
            return true;
        }
        ending += size + 1;
    }
    return false;
}

/* Count a FITS file by its name's shape; return the number of its class in the cube. */
static uint32_t
count_fits(Walk *walk, const Dir *dir, const char *name, size_t length, uint64_t size)
{
    walk->counts.fits_files++;
    walk->counts.fits_bytes += size;
    char shape[NAME_BYTES + 8];
    uint64_t hash = make_shape(walk->reader, name, length, shape);
    Shape *slot = shape_slot(walk, &walk->shapes, shape, length, hash);
    if (slot == NULL) {
        return 0;
    }
    if (slot->sample == NULL) {
        slot->sample = path_of(dir, name);
        if (slot->sample == NULL) {
            walk->no_memory = true;
            return 0;
        }
    }
    slot->count++;
    slot->bytes += size;
    return slot->number + 1;
}
