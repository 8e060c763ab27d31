/* Does not need a host, so it can be tested alone. */

#include "greeting.h"

#include <stdlib.h>
#include <string.h>

char *greeting(const char *name, size_t name_len, size_t *len) {
    static const char before[] = "Hello, ", after[] = "!";
    size_t head = sizeof before - 1, tail = sizeof after - 1;
    char *text = malloc(head + name_len + tail);
    if (text == NULL) return NULL;
    memcpy(text, before, head);
    memcpy(text + head, name, name_len);
    memcpy(text + head + name_len, after, tail);
    *len = head + name_len + tail;
    return text;
}
