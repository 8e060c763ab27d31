#include <stddef.h>

/* Returns a greeting of `*len` bytes for this name, or NULL if out of memory. The caller frees it. */
char *greeting(const char *name, size_t name_len, size_t *len);
