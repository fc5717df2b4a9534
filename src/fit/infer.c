/* Predicts with the network in spiked_model.h. Integers only, no library, no heap: the same bits on
   every machine. An input of 0 costs nothing. */
#include "spiked_model.h"

static int32_t spiked_weight(const spiked_layer *layer, uint32_t j, uint32_t k) {
    uint32_t stride = ((uint32_t)layer->units * layer->bits + 7) / 8, at = k * layer->bits;
    uint32_t code = layer->weights[j * stride + at / 8] >> (at % 8);
    code &= (1u << layer->bits) - 1u;
    if (layer->levels == 0) return code < 128 ? (int32_t)code : (int32_t)code - 256;
    return 2 * (int32_t)code - (int32_t)(layer->levels - 1);
}

static void spiked_add(const spiked_layer *layer, uint32_t j, int32_t x, int32_t *sums) {
    for (uint32_t k = 0; k < layer->units; k++) sums[k] += x * spiked_weight(layer, j, k);
}

/* The sums of all outputs: the largest is the class; a real output is SPIKED_SCALE times its sum. */
void spiked_infer(const int32_t input[SPIKED_INPUTS], int32_t output[SPIKED_OUTPUTS]) {
    static int32_t below[SPIKED_WIDEST], sums[SPIKED_WIDEST];
    for (uint32_t i = 0; i < SPIKED_LAYERS; i++) {
        const spiked_layer *layer = &spiked_layers[i];
        for (uint32_t k = 0; k < layer->units; k++) sums[k] = 0;
        if (i == 0) {
            for (uint32_t j = 0; j < layer->inputs; j++)
                if (input[j] != 0) spiked_add(layer, j, input[j], sums);
        } else {
            for (uint32_t j = 0; j + 1u < layer->inputs; j++)
                if (below[j] >= 0) spiked_add(layer, j, 1, sums);
            spiked_add(layer, layer->inputs - 1u, 1, sums);
        }
        for (uint32_t k = 0; k < layer->units; k++) below[k] = sums[k];
    }
    for (uint32_t k = 0; k < SPIKED_OUTPUTS; k++) output[k] = below[k];
}
