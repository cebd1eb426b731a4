// The snippet is the inside of a component, where React's hook is at hand.
declare const useState: typeof import("react").useState;
