/** The `type` member of an error answer: what a client can go by, as most of them have the status `500`. */
export type ErrorType =
  | "invalid_request_error"
  | "model_not_loaded"
  | "model_busy"
  | "backend_error"
  | "internal_error";

/** The body of every answer that is not a success. */
export interface ErrorAnswer {
  /** What went wrong. */
  error: {
    /** The HTTP status once more. */
    code: number;
    /** What is wrong, and what to send instead; written for a person. */
    message: string;
    /** What is wrong, for a program. */
    type: ErrorType;
  };
}

/**
 * An error that has an answer of its own: what `BackendMonitor` throws, and what the router turns into JSON.
 * Its message is written for whoever made the request; `cause` is for the host's log alone.
 */
export class MonitorError extends Error {
  /** The HTTP status of the answer. */
  readonly status: number;
  /** The `type` member of the answer. */
  readonly type: ErrorType;

  /**
   * For an answer that no class below has.
   *
   * @param status the HTTP status of the answer.
   * @param type the `type` member of the answer.
   * @param message what the client is told; it is sent as it is.
   * @param options `cause`: the original error, which no client is told.
   */
  constructor(status: number, type: ErrorType, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.status = status;
    this.type = type;
  }
}

/** The request itself is wrong; nothing was looked up, called or stopped. */
export class InvalidRequestError extends MonitorError {
  /** Status `400`, unless another one is given. */
  constructor(message: string, status: 400 | 405 | 413 | 415 = 400, options?: ErrorOptions) {
    super(status, "invalid_request_error", message, options);
  }
}

/** The registry does not know the model. */
export class ModelNotLoadedError extends MonitorError {
  /** Status `500`, type `model_not_loaded`. */
  constructor(message: string) {
    super(500, "model_not_loaded", message);
  }
}

/** The model was still busy when the drain time was over; nothing was stopped. */
export class ModelBusyError extends MonitorError {
  /** Status `500`, type `model_busy`. */
  constructor(message: string) {
    super(500, "model_busy", message);
  }
}

/**
 * The backend can be neither asked nor sampled, or its process could not be stopped. A registry's own `shutdown` may throw one
 * to have the client told why.
 */
export class BackendError extends MonitorError {
  /** Status `500`, type `backend_error`. */
  constructor(message: string, options?: ErrorOptions) {
    super(500, "backend_error", message, options);
  }
}

/** The registry itself failed, or something unforeseen happened. `cause` has the original error. */
export class InternalError extends MonitorError {
  /** Status `500`, type `internal_error`. */
  constructor(message: string, options?: ErrorOptions) {
    super(500, "internal_error", message, options);
  }
}

/** What is answered to an error. */
export function errorAnswer({
  status,
  message,
  type,
}: Pick<MonitorError, "status" | "message" | "type">): ErrorAnswer {
  return { error: { code: status, message, type } };
}

/** What is answered to anything that was thrown. Even to be asked what it is may make what a registry threw throw again. */
export function asMonitorError(error: unknown): MonitorError {
  try {
    if (error instanceof MonitorError) return error;
  } catch {
    // It is certainly none.
  }
  return new InternalError("something unforeseen happened; the server's logger is told what", {
    cause: error,
  });
}
