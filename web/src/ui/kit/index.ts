export { Avatar, initials, pictureBroke, pictureOf } from "./avatar";
export { Button, IconButton } from "./button";
export { Dialog } from "./dialog";
export { Field } from "./field";
export { Icon, type IconName } from "./icon";
export { Menu, type MenuItem, type Place } from "./menu";
export { Badge, Empty, Presence, Spinner, Tabs } from "./small";
export { problemText, report, Toasts, toast } from "./toast";
