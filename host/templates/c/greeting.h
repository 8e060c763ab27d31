#include <stddef.h>

/* A greeting of `*len` bytes for whoever has this name, to be freed; NULL if there is no memory. */
char *greeting(const char *name, size_t name_len, size_t *len);
