// NestJS 11 with its Express adapter: app.use() mounts the router, and a guard of Nest's says who may call.
// Run it in a clone of this repository: npm ci && npm run example build/examples/nestjs.js
// Then try the curl lines that it prints. Another port: PORT=8081 npm run … Ctrl-C ends it and its backends.
import "reflect-metadata";
import { randomUUID } from "node:crypto";
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  Inject,
  Injectable,
  Logger,
  Module,
  type OnApplicationShutdown,
  Post,
  UseGuards,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { NestExpressApplication } from "@nestjs/platform-express";
import type { Request } from "express";
import { BackendSupervisor, createBackendMonitorRouter } from "express-backend-monitor";

@Injectable()
class Backends extends BackendSupervisor implements OnApplicationShutdown {
  onApplicationShutdown() {
    return this.shutdownAll();
  }
}

@Injectable()
class AdminGuard implements CanActivate {
  readonly token = randomUUID();

  canActivate(context: ExecutionContext) {
    return this.isAdmin(context.switchToHttp().getRequest());
  }

  /** Yours looks at a session, or verifies a JWT. */
  isAdmin(req: Request) {
    return req.get("authorization") === `Bearer ${this.token}`;
  }
}

@Controller("models")
@UseGuards(AdminGuard)
class ModelsController {
  @Inject(Backends) readonly backends!: Backends;

  @Post()
  start(@Body("name") name: string) {
    const args = ["build/examples/backends/chat.js"];
    return this.backends.start({ name, command: process.execPath, args });
  }
}

@Module({ controllers: [ModelsController], providers: [Backends, AdminGuard] })
class AppModule {}

async function bootstrap() {
  const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ["warn", "error"] });
  app.enableShutdownHooks();

  // Nest's guards, global ones too, never see what app.use() mounts: without `authorize`, anybody could stop a model.
  // The same goes for consumer.apply(router).forRoutes("/") in a module; any other path there hides its own from the router.
  const guard = app.get(AdminGuard);
  const logger = new Logger("backends");
  app.use(
    createBackendMonitorRouter({
      registry: app.get(Backends),
      authorize: (req, _res, next) => next(guard.isAdmin(req) ? undefined : new ForbiddenException()),
      // Nest's Logger has log() where others have info().
      logger: { info: (message) => logger.log(message), error: (message) => logger.error(message) },
    }),
  );

  const port = Number(process.env.PORT ?? 8080);
  await app.listen(port, "127.0.0.1");
  const url = `http://127.0.0.1:${port}`;
  const admin = `-H "Authorization: Bearer ${guard.token}"`;
  const json = `-H "Content-Type: application/json"`;
  console.log(`curl ${url}/models ${admin} ${json} -d '{"name": "chat"}' # Nest's own: starts a backend`);
  console.log(`curl "${url}/backend/monitor?model=chat" # 403`);
  console.log(`curl "${url}/backend/monitor?model=chat" ${admin}`);
  console.log(`curl ${url}/backend/shutdown ${admin} ${json} -d '{"model": "chat"}'`);
}

await bootstrap();
