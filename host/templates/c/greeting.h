#include <stddef.h>

/* A greeting of `*len` bytes for this name. The caller frees it. NULL if there is no memory. */
char *greeting(const char *name, size_t name_len, size_t *len);
