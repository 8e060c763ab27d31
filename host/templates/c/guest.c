/* The exports of `wit/plugin.wit`. */

#include <stdlib.h>

#include "greeting.h"
#include "plugin.h"

void exports_plugin_greet(plugin_string_t *name, plugin_string_t *ret) {
    ret->ptr = (uint8_t *)greeting((const char *)name->ptr, name->len, &ret->len);
    if (ret->ptr == NULL) abort();
    plugin_string_free(name);
}
