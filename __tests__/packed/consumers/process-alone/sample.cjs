const { sampleProcess } = require("express-backend-monitor/process");
sampleProcess(process.pid).then(({ rss }) => console.log(rss > 0));
