/* Tells three kinds of iris apart, in C. The host runs the model; the code around it is here. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flower.h"

#define KINDS 3
#define MEASUREMENTS 4

static const char *const NAMES[KINDS] = {"setosa", "versicolor", "virginica"};

/* Moves the host's error message into `err`. */
static bool fail(wasi_nn_errors_own_error_t error, flower_string_t *err) {
    wasi_nn_errors_method_error_data(wasi_nn_errors_borrow_error(error), err);
    wasi_nn_errors_error_drop_own(error);
    return false;
}

/* The outputs of the bundle's model. Takes the inputs. */
static bool compute(wasi_nn_inference_list_named_tensor_t *inputs,
                    wasi_nn_inference_list_named_tensor_t *outputs, flower_string_t *err) {
    flower_string_t name = {(uint8_t *)"model", strlen("model")};
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_graph_own_error_t error;
    if (!wasi_nn_graph_load_by_name(&name, &graph, &error)) return fail(error, err);
    wasi_nn_graph_own_graph_execution_context_t context;
    bool made = wasi_nn_graph_method_graph_init_execution_context(
        wasi_nn_graph_borrow_graph(graph), &context, &error);
    wasi_nn_graph_graph_drop_own(graph);
    if (!made) return fail(error, err);
    bool computed = wasi_nn_inference_method_graph_execution_context_compute(
        wasi_nn_inference_borrow_graph_execution_context(context), inputs, outputs, &error);
    wasi_nn_inference_graph_execution_context_drop_own(context);
    return computed || fail(error, err);
}

/* Whether a string of the interface equals a C string. */
static bool is(flower_string_t text, const char *wanted) {
    return text.len == strlen(wanted) && memcmp(text.ptr, wanted, text.len) == 0;
}

static int likelier(const void *a, const void *b) {
    float x = ((const flower_label_t *)a)->score, y = ((const flower_label_t *)b)->score;
    return (x < y) - (x > y);
}

/* The scores as labels, the most likely first. Takes the tensor's bytes. */
static void label(wasi_nn_tensor_tensor_data_t scores, flower_list_label_t *ret) {
    ret->len = KINDS;
    ret->ptr = calloc(KINDS, sizeof(flower_label_t));
    for (size_t kind = 0; kind < KINDS; kind++) {
        flower_string_dup(&ret->ptr[kind].name, NAMES[kind]);
        memcpy(&ret->ptr[kind].score, scores.ptr + kind * sizeof(float), sizeof(float));
    }
    qsort(ret->ptr, KINDS, sizeof(flower_label_t), likelier);
    wasi_nn_tensor_tensor_data_free(&scores);
}

bool exports_flower_classify(flower_list_f32_t *measurements, flower_list_label_t *ret,
                             flower_string_t *err) {
    if (measurements->len != MEASUREMENTS) {
        char text[80];
        snprintf(text, sizeof text, "%zu measurements, a flower has %d", measurements->len,
                 MEASUREMENTS);
        flower_string_dup(err, text);
        return false;
    }
    uint32_t shape[] = {1, MEASUREMENTS};
    wasi_nn_tensor_tensor_dimensions_t dimensions = {shape, 2};
    wasi_nn_tensor_tensor_data_t data = {(uint8_t *)measurements->ptr,
                                         MEASUREMENTS * sizeof(float)};
    wasi_nn_inference_named_tensor_t input = {
        {(uint8_t *)"X", 1},
        wasi_nn_tensor_constructor_tensor(&dimensions, WASI_NN_TENSOR_TENSOR_TYPE_FP32, &data)};
    wasi_nn_inference_list_named_tensor_t inputs = {&input, 1}, outputs;
    if (!compute(&inputs, &outputs, err)) return false;

    bool found = false;
    for (size_t output = 0; output < outputs.len && !found; output++) {
        if (!is(outputs.ptr[output].f0, "probabilities")) continue;
        wasi_nn_tensor_tensor_data_t scores;
        wasi_nn_tensor_method_tensor_data(
            wasi_nn_tensor_borrow_tensor(outputs.ptr[output].f1), &scores);
        found = scores.len == KINDS * sizeof(float);
        if (found) label(scores, ret);
    }
    wasi_nn_inference_list_named_tensor_free(&outputs);
    if (!found) flower_string_dup(err, "the model gave no probabilities of three kinds");
    return found;
}

bool exports_hospes_plugin_inference_infer(
    exports_hospes_plugin_inference_list_named_tensor_t *inputs,
    exports_hospes_plugin_inference_list_named_tensor_t *ret, flower_string_t *err) {
    /* The interface's named tensors are those of wasi:nn with another name. */
    return compute((wasi_nn_inference_list_named_tensor_t *)inputs,
                   (wasi_nn_inference_list_named_tensor_t *)ret, err);
}
