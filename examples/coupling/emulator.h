/* A LEAP emulator that experiments/export.py wrote with --layout flat or e3sm, for C, C++ and Fortran. */
#ifndef PODIUM_EMULATOR_H
#define PODIUM_EMULATOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emulator emulator;

/* Load a file: TorchScript (.pt), or an AOTInductor package (.pt2). device is "cpu" or "cuda".
   NULL where that fails; emulator_error() says why. */
emulator *emulator_load(const char *file, const char *device);

/* State of ncol columns to their tendencies and fluxes; 0 if all went well.
   bytes: 8 for double (--layout flat), 4 for float (--layout e3sm).
   A column has 557 values, or as many as its TorchScript file says (larger sets of variables).
   column_major: 0 for C arrays state[ncol][557], result[ncol][368]; 1 for Fortran arrays state(ncol,557), result(ncol,368).
   Both arrays are read and written where they lie; a Fortran state is copied into C order once. */
int emulator_run(emulator *net, const void *state, void *result, int64_t ncol, int bytes, int column_major);

void emulator_free(emulator *net);

/* What went wrong last in this thread. */
const char *emulator_error(void);

#ifdef __cplusplus
}
#endif
#endif
