#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "greeting.h"

int main(void) {
    size_t len;
    char *text = greeting("Zoe", 3, &len);
    assert(text != NULL && len == 11 && memcmp(text, "Hello, Zoe!", len) == 0);
    free(text);
    return 0;
}
