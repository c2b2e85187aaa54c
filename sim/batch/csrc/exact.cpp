#include "exact.hpp"

#include <cstring>

#include "osc.hpp"

namespace batch {
namespace {

constexpr int kTask = 6;
constexpr int kWork = 512;  // more than any of these small problems asks for; they are solved unblocked
constexpr double kOne = 1, kZero = 0;
constexpr double kSmallestSingularValue = 1e-15;  // of the largest; numba's default

}  // namespace

void Exact::Dot(mjtNum* out, int m, int k, int n, const mjtNum* x, bool x_by_rows, const mjtNum* y,
                bool y_by_rows) const {
  const int lda = y_by_rows ? n : k, ldb = x_by_rows ? k : m;
  library_.dgemm(y_by_rows ? "n" : "t", x_by_rows ? "n" : "t", &n, &m, &k, &kOne, y, &lda, x, &ldb, &kZero, out, &n);
}

void Exact::Apply(mjtNum* out, const mjtNum* matrix, int rows, int columns, const mjtNum* x) const {
  const int step = 1;
  library_.dgemv("n", &rows, &columns, &kOne, matrix, &rows, x, &step, &kZero, out, &step);
}

void Exact::Project(mjtNum* out, const mjtNum* matrix, int columns, const mjtNum* vector) const {
  const int rows = 3, step = 1;
  library_.dgemv("t", &columns, &rows, &kOne, matrix, &columns, vector, &step, &kZero, out, &step);
}

void Exact::Multiply3(mjtNum* out, const mjtNum* a, const mjtNum* b) const { Dot(out, 3, 3, 3, a, true, b, true); }

void Exact::Localise(const mjtNum* origin, const mjtNum* base, const mjtNum* position, const mjtNum* rotation,
                     mjtNum* local_position, mjtNum* local_rotation) const {
  mjtNum turned[9], moved[3];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) turned[3 * i + j] = base[3 * j + i];
  Project(moved, turned, 3, origin);
  mjtNum from_world[16] = {}, pose[16] = {}, local[16];
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) {
      from_world[4 * i + j] = turned[3 * i + j];
      pose[4 * i + j] = rotation[3 * i + j];
    }
    from_world[4 * i + 3] = -moved[i];
    pose[4 * i + 3] = position[i];
  }
  from_world[15] = pose[15] = 1;
  Dot(local, 4, 4, 4, from_world, true, pose, true);
  for (int i = 0; i < 3; i++) {
    local_position[i] = local[4 * i + 3];
    for (int j = 0; j < 3; j++) local_rotation[3 * i + j] = local[4 * i + j];
  }
}

template <int n>
void Exact::PseudoInverse(mjtNum* out, const mjtNum* matrix) const {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) out[n * j + i] = matrix[n * i + j];
  const int size = n, work_size = kWork;
  int info = 0, integers[8 * n];
  double s[n] = {}, u[n * n] = {}, vt[n * n] = {}, work[kWork];
  library_.dgesdd("S", &size, &size, out, &size, s, u, &size, vt, &size, work, &work_size, integers, &info);
  const double cut_at = s[0] * kSmallestSingularValue;
  int rank = 1;
  for (int k = 0; k < n; k++)
    if (s[k] > cut_at) {
      s[k] = 1 / s[k];
      rank = k + 1;
    }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < rank; j++) vt[n * i + j] *= s[j];
  library_.dgemm("C", "C", &size, &size, &rank, &kOne, vt, &size, u, &size, &kZero, out, &size);
}

void Exact::Torques(const Measurement& now, const mjtNum* force, const mjtNum* torque, const mjtNum* u,
                    const mjtNum* bias, mjtNum* out) const {
  constexpr int n = kJoints;
  const mjtNum *jacobian = now.jacobian, *angular = now.jacobian + 3 * n;
  const int size = n, work_size = kWork;
  int pivots[n], info;
  double work[kWork], inverse[n * n];
  std::memcpy(inverse, now.inertia, sizeof inverse);
  library_.dgetrf(&size, &size, inverse, &size, pivots, &info);
  library_.dgetri(&size, inverse, &size, pivots, work, &work_size, &info);

  // inertia felt at the hand: whole, and of translation and rotation apart
  mjtNum half[kTask * n], mobility[kTask * kTask], whole[kTask * kTask], of_linear[9], of_angular[9];
  const auto felt = [&](mjtNum* result, const mjtNum* rows, int count) {
    Dot(half, count, n, n, rows, true, inverse, false);
    Dot(result, count, n, count, half, true, rows, false);
  };
  felt(mobility, jacobian, kTask);
  PseudoInverse<kTask>(whole, mobility);
  felt(mobility, jacobian, 3);
  PseudoInverse<3>(of_linear, mobility);
  felt(mobility, angular, 3);
  PseudoInverse<3>(of_angular, mobility);

  // what of a joint torque does not move the hand
  mjtNum back[n * kTask], weighted[n * kTask], nullspace[n * n];
  Dot(back, n, n, kTask, inverse, false, jacobian, false);
  Dot(weighted, n, kTask, kTask, back, true, whole, false);
  Dot(nullspace, n, kTask, n, weighted, true, jacobian, true);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) nullspace[n * i + j] = (i == j ? 1.0 : 0.0) - nullspace[n * i + j];

  mjtNum wrench[kTask], wanted[n], posture[n];
  Apply(wrench, of_linear, 3, 3, force);
  Apply(wrench + 3, of_angular, 3, 3, torque);
  Apply(out, jacobian, n, kTask, wrench);
  Apply(wanted, now.inertia, n, n, u);
  Apply(posture, nullspace, n, n, wanted);
  for (int i = 0; i < n; i++) out[i] = out[i] + bias[i] + posture[i];
}

}  // namespace batch
