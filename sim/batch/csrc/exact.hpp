// The controller's arithmetic as robosuite computes it, operation by operation: the C++ of operational_space.py.
//
// Products and inverses go through the BLAS and LAPACK that numba and NumPy call, on the same memory layouts, so that
// results agree to the last bit. Sums that are written out keep robosuite's order.
#pragma once

#include <mujoco/mujoco.h>

namespace batch {

struct Measurement;

// Entry points of the library, found by linear_algebra.py in this order; all matrices are stored by columns.
struct LinearAlgebra {
  void (*dgemm)(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
                const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
                const double* beta, double* c, const int* ldc);
  void (*dgemv)(const char* trans, const int* m, const int* n, const double* alpha, const double* a, const int* lda,
                const double* x, const int* incx, const double* beta, double* y, const int* incy);
  void (*dgetrf)(const int* m, const int* n, double* a, const int* lda, int* pivots, int* info);
  void (*dgetri)(const int* n, double* a, const int* lda, const int* pivots, double* work, const int* lwork,
                 int* info);
  void (*dgesdd)(const char* job, const int* m, const int* n, double* a, const int* lda, double* s, double* u,
                 const int* ldu, double* vt, const int* ldvt, double* work, const int* lwork, int* iwork, int* info);
};

// robosuite's arithmetic; matrices are stored by rows unless said otherwise.
class Exact {
 public:
  explicit Exact(const LinearAlgebra& library) : library_(library) {}

  // (3) = (3, columns) . (columns).
  void Project(mjtNum* out, const mjtNum* matrix, int columns, const mjtNum* vector) const;
  // (3, 3) = (3, 3) . (3, 3).
  void Multiply3(mjtNum* out, const mjtNum* a, const mjtNum* b) const;
  // A pose in the frame `origin`, `base`.
  void Localise(const mjtNum* origin, const mjtNum* base, const mjtNum* position, const mjtNum* rotation,
                mjtNum* local_position, mjtNum* local_rotation) const;
  // (7) torques from desired accelerations of the hand and from the error `u` (7) of the posture, gravity excepted.
  void Torques(const Measurement& now, const mjtNum* force, const mjtNum* torque, const mjtNum* u, const mjtNum* bias,
               mjtNum* out) const;

 private:
  // out (m, n) by rows = x (m, k) . y (k, n); each of x and y by rows or by columns.
  void Dot(mjtNum* out, int m, int k, int n, const mjtNum* x, bool x_by_rows, const mjtNum* y, bool y_by_rows) const;
  // out = matrix (rows, columns) . x; the matrix is stored by columns.
  void Apply(mjtNum* out, const mjtNum* matrix, int rows, int columns, const mjtNum* x) const;
  // (n, n) by columns; `matrix` is symmetric but for rounding and is stored by rows.
  template <int n>
  void PseudoInverse(mjtNum* out, const mjtNum* matrix) const;

  LinearAlgebra library_;
};

}  // namespace batch
